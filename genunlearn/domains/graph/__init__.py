"""Adapters of graph networks."""
