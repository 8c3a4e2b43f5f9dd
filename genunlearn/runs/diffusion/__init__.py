"""Runs of text-to-image pipelines."""
