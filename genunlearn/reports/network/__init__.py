"""Reports of classifiers and regressors."""
