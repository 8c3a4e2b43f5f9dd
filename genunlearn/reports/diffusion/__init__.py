"""Reports of text-to-image pipelines."""
