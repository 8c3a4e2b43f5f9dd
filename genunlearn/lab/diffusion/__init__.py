"""Embedded models of text-to-image pipelines."""
