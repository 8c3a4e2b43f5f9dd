"""Runs of graph networks."""
