"""Unlearning methods: one file per published method, in rooms by the family that it was made for."""
