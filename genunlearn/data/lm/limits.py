"""Where generated training material ends."""

from __future__ import annotations

from genunlearn.prompts import Prompt


def limits(prompt: Prompt, lines: int | None = None) -> dict[str, int]:
    """Where an answer to a prompt ends, if its file says so; a list also after so many lines."""
    if prompt.tokens is None:
        return {}
    return {"max_new_tokens": prompt.tokens} | ({"max_lines": lines} if lines else {})
