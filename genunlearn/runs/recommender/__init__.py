"""Runs on recommenders."""
