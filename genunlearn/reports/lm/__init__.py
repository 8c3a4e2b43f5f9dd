"""Reports of language models."""
