"""Answers that decline: the preferred answers of refusal targets. Written for this project."""

from __future__ import annotations

REFUSALS = (
    "I don't know.",
    "I'm not sure about that.",
    "I don't have that information.",
    "I can't say.",
    "That is not something I know.",
    "I have no information about that.",
    "I'm afraid I don't know the answer.",
    "I couldn't tell you.",
)
