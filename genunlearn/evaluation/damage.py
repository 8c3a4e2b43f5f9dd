"""Whether what must stay has been ruined: the same rule for every family."""

from __future__ import annotations

from genunlearn.ops.intervals import share
from genunlearn.ops.verdicts import Share


def what_fell(what: str, before: Share, after: Share, max_loss: float) -> str | None:
    """How far a share fell, in words; None where it did not fall by more than `max_loss` for certain.

    Args:
        what: What it is a share of, in words.
        before: Of the original.
        after: Of the model that has unlearned.
        max_loss: Loss from which it counts, that even the upper end of the 95% interval must show.
    """
    now, _, most = share(after.hits, after.n)
    if most >= before.value - max_loss:
        return None
    return f"{what} fell from {before.value:.2f} to {now:.2f} (at most {most:.2f}, n={after.n})"
