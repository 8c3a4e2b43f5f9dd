"""Interactions of users with items, features of items, and which of them a request takes away."""
