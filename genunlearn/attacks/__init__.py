"""Attacks: probes with a budget, run on a model and on one that never knew."""
