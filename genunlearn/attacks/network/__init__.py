"""Attacks of classifiers and regressors."""
