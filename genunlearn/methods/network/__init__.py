"""Methods for classifiers and regressors."""
