"""Learners of tasks, one after the other: what they do against forgetting, and some of them for it."""
