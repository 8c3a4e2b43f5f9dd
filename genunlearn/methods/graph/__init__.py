"""Methods for graph networks."""
