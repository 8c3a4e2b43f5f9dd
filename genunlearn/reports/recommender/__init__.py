"""Reports of runs on recommenders."""
