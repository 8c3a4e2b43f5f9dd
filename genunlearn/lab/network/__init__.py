"""Embedded models of classifiers and regressors."""
