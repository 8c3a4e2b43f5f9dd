"""Adapters of classifiers and regressors."""
