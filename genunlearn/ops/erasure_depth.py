"""How deep a fact has been erased: by layers, what a model's states lack beside those of one that never knew.

    S1_l = s - s(retain at l),   S2_l = s - s(unlearned at l)
    UDS = sum_{l: S1_l > tau} S1_l min(1, max(0, S2_l / S1_l)) / sum_{l: S1_l > tau} S1_l

s is the mean log-probability a token that the original gives to the answer, and s(model at l) that with the states of
another model in the place of its own behind layer l.

Source: Lee, Kim, Jo, "Measuring the Depth of LLM Unlearning via Activation Patching" (2026), section 3; tau 0.05.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Sequence

TAU = 0.05
"""Nats a token from which on a layer counts as one that holds the fact."""


def erasure_depth(
    lost_by_retain: Sequence[float], lost_by_unlearned: Sequence[float], tau: float = TAU
) -> float | None:
    """UDS of one question, from 0 (all is there) to 1 (as if never known); None where no layer holds the fact.

    Args:
        lost_by_retain: S1 by layer, nats a token.
        lost_by_unlearned: S2 by layer.
        tau: Least S1 that counts.
    """
    held = [(s1, s2) for s1, s2 in zip(lost_by_retain, lost_by_unlearned, strict=True) if s1 > tau]
    if not held:
        return None
    return sum(min(s1, max(0.0, s2)) for s1, s2 in held) / sum(s1 for s1, _ in held)
