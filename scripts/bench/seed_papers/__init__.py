"""One module a seed paper: a run in the shape of its table, beside the published numbers."""
