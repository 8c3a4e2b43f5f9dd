"""Embedded models of graphs."""
