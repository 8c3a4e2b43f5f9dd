"""Where generated training material ends."""

from __future__ import annotations

from genunlearn.prompts import Prompt

LONGEST_LINE = 40
"""Tokens of a list's line; a model that has been trained on other things may not begin a new one."""


def limits(prompt: Prompt, lines: int | None = None) -> dict[str, int]:
    """Where an answer to a prompt ends, if its file says so; a list also after so many lines."""
    if prompt.tokens is None:
        return {}
    if not lines:
        return {"max_new_tokens": prompt.tokens}
    return {"max_new_tokens": min(prompt.tokens, lines * LONGEST_LINE), "max_lines": lines}
