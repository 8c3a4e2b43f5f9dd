"""Adapters of text-to-image pipelines."""
