"""Reports of graph networks."""
