"""Embedded models of language models."""
