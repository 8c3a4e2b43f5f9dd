"""What training items are worth: a game in which items earn what a learner scores, and one file a way to share it."""
