"""Metrics of graph networks."""
