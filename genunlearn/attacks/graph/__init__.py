"""Attacks of graph networks."""
