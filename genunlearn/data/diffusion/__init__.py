"""Data of text-to-image pipelines."""
