"""Synthetic tables: one file a generator, TabSynDex, and how near their rows are to forgotten ones."""
