"""Runs of classifiers and regressors."""
