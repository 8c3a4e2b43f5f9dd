"""Learners of tasks that forget on request: from a stream of requests to a record, and from Python."""

from genunlearn.runs.network.continual.learner import ContinualLearner

__all__ = ["ContinualLearner"]
