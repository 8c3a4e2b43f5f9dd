"""What objectives on language models share: a forget term a token or an answer, beside the retain term."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import (
    STRICT,
    Batch,
    Examples,
    Method,
    Needs,
    Objective,
    Reduction,
    Reference,
    Splits,
    Term,
    Terms,
    with_sides,
)
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.data.lm.thoughts import declined
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import is_sharded
from genunlearn.errors import NeedNotMet
from genunlearn.methods.base import RETAIN_LOSS, RetainLoss, declare_retain, retain_term
from genunlearn.ops.token_losses import answer_mean


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForgetAndRetain(Objective[LanguageModel]):
    """``gamma`` times a loss on the forget set and ``alpha`` times one of two on the retain set."""

    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True)

    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    retain_loss: Annotated[RetainLoss, Field(description=RETAIN_LOSS)] = "nll"
    reduction: Reduction = "examples"

    def __post_init__(self) -> None:
        """Ask for what the retain loss needs."""
        if self.alpha:
            declare_retain(self, self.retain_loss)

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Check that there is something to keep where `alpha` asks for it.

        Raises:
            NeedNotMet: `alpha` is above 0 and there is no retain data.
        """
        if self.alpha and not splits.retain:
            raise NeedNotMet(f"method.alpha = {self.alpha:g} needs retain data, and none is given: add some, or set 0")
        return splits

    @abc.abstractmethod
    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """The forget loss of each example, ``(batch,)``."""

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where `alpha` is above 0, ``retain``."""
        terms = {}
        if batch.forget is not None:
            values = self.forget_values(batch.forget, model, reference)
            terms["forget"] = Term.of(values, batch.forget, "forget", self.gamma)
        if batch.retain is not None and self.alpha:
            terms["retain"] = retain_term(self.retain_loss, batch.retain, model, reference, self.alpha, self.reduction)
        return terms


def refuse_several_processes(method: Method, model: Any) -> None:
    """For losses that go back and forth through the model more than once a step, and edits that train.

    Raises:
        NeedNotMet: Several processes share the model, or its weights.
    """
    if isinstance(model.module, nn.parallel.DistributedDataParallel) or is_sharded(model.module):
        raise NeedNotMet(f"method {method.name!r} takes gradients within a step: run it in one process")


def rows(examples: Examples) -> Iterator[Examples]:
    """The examples one by one, padded as they are."""
    for n, key in enumerate(examples.ids):
        tensors = {name: tensor[n : n + 1] for name, tensor in examples.tensors.items()}
        yield Examples((key,), examples.weight[n : n + 1], tensors)


def mean_probability(examples: Examples, model: Any, prefix: str = "") -> Tensor:
    """Probability of an answer's tokens, averaged over them, ``(batch,)``; `prefix` as in the model's `logits`."""
    logprobs = model.token_logprobs(examples, prefix)
    labels = examples[f"{prefix}labels"]
    return answer_mean(logprobs.exp(), labels[:, labels.shape[1] - logprobs.shape[1] :])


def with_refusals(splits: Splits, seed: int) -> Splits:
    """The same request, where every forget item has a refusal as its alternative, drawn by `seed`.

    Where the item is taught with a thought, the refusal has one that declines.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(REFUSALS), (len(splits.forget),), generator=generator).tolist()
    forget: Sequence[QA] = [
        replace(item, alternative=item.alternative or declined(item, REFUSALS[i], i))
        for item, i in zip(splits.forget, drawn, strict=True)
    ]
    return with_sides(splits, forget, splits.retain)
