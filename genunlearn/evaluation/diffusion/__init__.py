"""Metrics of text-to-image pipelines."""
