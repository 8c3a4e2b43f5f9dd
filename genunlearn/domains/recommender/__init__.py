"""Recommenders that rank items by the product of a user's vector and an item's."""
