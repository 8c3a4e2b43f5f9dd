"""Metrics of classifiers and regressors."""
