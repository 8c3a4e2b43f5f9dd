"""Methods made for recommenders."""
