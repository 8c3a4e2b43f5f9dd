"""Small networks found by gradient: light cells, the search for them, what they cost, and whether they forget."""
