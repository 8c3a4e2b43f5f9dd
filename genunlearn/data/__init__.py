"""Requests and data sets: facts, questions, scope neighbours, splits, leak check."""
