"""How deep unlearning goes: states of the unlearned model, layer by layer, in the place of the original's.

The equation is that of `genunlearn.ops.erasure_depth`. Behind a layer the states are put at the places that the answer
is predicted from; what the original then says of the answer shows what those states still hold.

Deviations from the publication: the whole answer counts, without its end, not the name in it alone; the states of the
last layer are those before the final norm, as of every other layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from genunlearn.contracts import Examples, Metric, Suite
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.hidden import adjusted, recording
from genunlearn.errors import MismatchError
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.benchmark_metrics import FORGET, TOFU
from genunlearn.evaluation.lm.metrics import FACTS
from genunlearn.ops import intervals
from genunlearn.ops.erasure_depth import erasure_depth
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.records import Result

BATCH = 16
"""Questions in one forward pass."""


class Patching:
    """What the original says of answers with the states of another model in it; the retain model's are read once."""

    def __init__(self, original: Any, retrained: Any, items: Sequence[QA]) -> None:
        """Take the models and the questions; nothing is asked of them yet.

        Args:
            original: The language model before unlearning.
            retrained: One that was trained without the forget set.
            items: Questions of the forget set.
        """
        self.original, self._retrained, self.items = original, retrained, list(items)

    def depths(self, unlearned: Any) -> list[float | None]:
        """UDS of each question; None where no layer holds its answer.

        Raises:
            MismatchError: A model has another number of layers, or other tokens, than the original.
        """
        pairs = zip(self._lost_by_retrained, self._lost(unlearned), strict=True)
        return [erasure_depth(s1, s2) for s1, s2 in pairs]

    @cached_property
    def _lost_by_retrained(self) -> list[list[float]]:
        return self._lost(self._retrained)

    @cached_property
    def _own(self) -> list[Tensor]:
        """What the original says by itself, ``(batch,)`` for each batch."""
        return [self._said(examples) for examples in self._batches()]

    @torch.no_grad()
    def _lost(self, source: Any) -> list[list[float]]:
        """By how much each answer is less likely with the states of `source`, by question and layer."""
        layers = self.original.decoder_layers()
        if len(source.decoder_layers()) != len(layers):
            raise MismatchError(
                f"unlearning depth: {len(source.decoder_layers())} layers in place of {len(layers)}; they must be alike"
            )
        found: list[list[float]] = []
        with evaluating(self.original.module), evaluating(source.module):
            for examples, own in zip(self._batches(), self._own, strict=True):
                places = _predicting(examples)
                by_layer = []
                for layer, states in zip(layers, self._states(source, examples), strict=True):
                    with adjusted(layer, partial(_exchanged, states=states, places=places)):
                        by_layer.append(own - self._said(examples))
                found += torch.stack(by_layer, dim=1).tolist()
        return found

    def _states(self, source: Any, examples: Examples) -> list[Tensor]:
        """What every layer of `source` puts out, ``(batch, tokens, width)`` each."""
        with ExitStack() as stack:
            seen = [stack.enter_context(recording(layer)) for layer in source.decoder_layers()]
            source.logits(examples.to(source.device))
        return [outputs[0][1] for outputs in seen]

    @torch.no_grad()
    def _said(self, examples: Examples) -> Tensor:
        """Mean log-probability a token of each answer without its end, ``(batch,)``."""
        logits, labels = self.original.output_logits(examples), self.original.output_labels(examples)
        logprobs = logits.float().log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
        counted = _predicting(examples)[:, -1 - labels.shape[1] : -1, 0]
        return ((logprobs * counted).sum(-1) / counted.sum(-1)).cpu()

    def _batches(self) -> Iterator[Examples]:
        for start in range(0, len(self.items), BATCH):
            yield self.original.collate(self.items[start : start + BATCH])


def _exchanged(output: Tensor, states: Tensor, places: Tensor) -> Tensor:
    return torch.where(places, states.to(output), output)


def _predicting(examples: Examples) -> Tensor:
    """Which places predict a token of the answer, its end left out, ``(batch, tokens, 1)`` bool."""
    width = examples["input_ids"].shape[1]
    column = torch.arange(width, device=examples["input_ids"].device)[None]
    first, end = (width - examples[name].to(column.device)[:, None] - 1 for name in ("tokens", "ends"))
    return ((column >= first) & (column < end))[..., None]


class UnlearningDepth(Metric):
    """How far what is to go has been erased from the layers that held it: 0 not at all, 1 as if never known."""

    name: ClassVar[str] = "unlearning_depth"
    higher_is_better: ClassVar[bool | None] = True

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result, or a skipped one that says what is missing."""
        if not probes.measured.get(FORGET):
            return [Result(name=self.name, target=target, value=None, skipped="no forget set")]
        if probes.patching is None:
            reason = "no model trained without the forget set is known: name one in evaluate.oracle"
            return [Result(name=self.name, target=target, value=None, skipped=reason)]
        depths = [depth for depth in probes.patching.depths(probes.model) if depth is not None]
        if not depths:
            reason = "no layer holds what the retain model lacks"
            return [Result(name=self.name, target=target, value=None, skipped=reason)]
        value, low, high = intervals.bounded_mean(depths)
        return [
            Result(
                name=self.name, group=FORGET, target=target, value=value, low=low, high=high, n=len(depths),
                version=self.version, higher_is_better=True,
            )
        ]  # fmt: skip


FACTS_FULL = Suite((*FACTS.metrics, UnlearningDepth))
TOFU_FULL = Suite((*TOFU.metrics, UnlearningDepth))
