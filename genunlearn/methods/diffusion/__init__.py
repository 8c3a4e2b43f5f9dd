"""Concept erasure in text-to-image diffusion models, one published method a file."""
