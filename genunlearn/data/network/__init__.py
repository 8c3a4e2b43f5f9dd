"""Data of classifiers and regressors."""
