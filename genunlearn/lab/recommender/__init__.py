"""``lab:recommender``: users with planted tastes, items with real pictures and texts."""
