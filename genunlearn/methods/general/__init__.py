"""Methods that fit every family whose adapter gives a loss per example and output logits."""
