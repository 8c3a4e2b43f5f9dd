"""Data of graphs."""
