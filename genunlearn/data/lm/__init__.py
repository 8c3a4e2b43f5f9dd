"""Data of language models."""
