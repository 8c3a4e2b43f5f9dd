"""A classifier that clients have taught together: rounds, what a server remembers of them, and Flower as an engine."""
