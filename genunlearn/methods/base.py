"""What methods of several families share: the term that holds what must stay, and distillation from two teachers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from genunlearn.contracts import Batch, Examples, Objective, Reduction, Reference, Term, Terms
from genunlearn.errors import MismatchError
from genunlearn.ops.divergences import jensen_shannon, kl_divergence

RetainLoss = Literal["nll", "kl", "js"]
"""``nll``: the training loss of what must stay; ``kl`` and ``js``: how far predictions there are from the reference's,
as Kullback-Leibler or as Jensen-Shannon divergence, both in nats."""

RETAIN_LOSS = "nll, or how far predictions on the retain set are from the reference's: kl or js"


def retain_term(
    kind: RetainLoss,
    examples: Examples,
    model: Any,
    reference: Reference,
    weight: float,
    reduction: Reduction = "examples",
) -> Term:
    """The retain side's addend of a loss, ``weight`` times CE or a divergence from the reference on R.

    Raises:
        MismatchError: A divergence on a model that predicts no classes.
    """
    if kind == "nll":
        return Term.of(model.example_loss(examples), examples, "retain", weight, reduction)
    labels = model.output_labels(examples) if "output_labels" in model.offers else None
    if labels is None or labels.is_floating_point():
        raise MismatchError(f"method.retain_loss = {kind!r} needs a model that predicts classes or tokens: take nll")
    target, logits, counted = reference.ask("output_logits", examples), model.output_logits(examples), labels >= 0
    if kind == "kl":
        values = kl_divergence(target, logits, counted=counted)
    else:
        places = math.log(2) * jensen_shannon(target, logits).view(len(labels), -1)
        counted = counted.view(len(labels), -1)
        values = (places * counted).sum(-1) / counted.sum(-1).clamp_min(1)
    return Term.of(values, examples, "retain", weight, reduction)


def declare_retain(method: Objective, kind: RetainLoss) -> None:
    """Add what the retain loss of this one `method` asks for: the reference, or another score of the model."""
    if kind != "nll":
        object.__setattr__(method, "needs", replace(method.needs, reference=True))
        object.__setattr__(method, "asks_reference_else", True)
    elif method.model_scores:
        object.__setattr__(method, "model_scores", (*method.model_scores, ("retain", "example_loss")))


def two_teachers(batch: Batch, apart: Callable[[str, Examples], Tensor], weights: Mapping[str, float]) -> Terms:
    """Distillation from two teachers, one for what is to be forgotten and one for what must stay.

    Args:
        batch: Examples by side.
        apart: How far the student is from the teacher of a side, ``(side, examples) -> (batch,)``.
        weights: Weight of each side, ``forget`` and ``retain``.
    """
    return {side: Term.of(apart(side, examples), examples, side, weights[side]) for side, examples in batch.sides()}
