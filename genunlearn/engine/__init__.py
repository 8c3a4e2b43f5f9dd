"""The training loop and what surrounds it: trained weights, frozen reference, checkpoints, journal, progress."""
