"""Whether what must stay has been ruined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genunlearn.data.lm.facts import GONE_GROUPS, KEEP_GROUPS
from genunlearn.evaluation import damage
from genunlearn.ops.verdicts import Share

Told = Mapping[str, Sequence[bool]]
"""Whether each question is answered with the truth, by scope group."""


def what_fell(before: Told, after: Told, max_retain_loss: float) -> str | None:
    """How far recall of what must stay fell, in words; None where it did not fall by more than that for certain.

    Args:
        before: Answers of the original.
        after: Answers of the model that has unlearned.
        max_retain_loss: Loss from which it counts, that even the interval's upper end must show.
    """
    known, now_known = kept(before), kept(after)
    if not known:
        return None
    level, now = (Share(sum(told), len(told)) for told in (known, now_known))
    return damage.what_fell("recall of what must stay", level, now, max_retain_loss)


def kept(told: Told) -> list[bool]:
    """Answers to what must stay; where no group says so, to all that is not to be forgotten."""
    groups = [group for group in told if group in KEEP_GROUPS]
    others = [group for group in told if group not in GONE_GROUPS]
    return [one for group in groups or others for one in told[group]]
