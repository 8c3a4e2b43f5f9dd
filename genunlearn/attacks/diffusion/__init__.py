"""Attacks of text-to-image pipelines."""
