"""Readers of unlearning benchmarks, one file each."""
