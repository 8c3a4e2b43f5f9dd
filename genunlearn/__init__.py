"""genunlearn: make generative models forget, and prove what they still know."""
