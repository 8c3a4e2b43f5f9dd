"""Attacks on recommenders."""
