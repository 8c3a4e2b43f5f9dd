"""The frozen model inside a loss, in strategies behind ``ask(name, examples)``.

FrozenCopy    a second model in memory; for full-weight training
AdapterOff    the model itself with its LoRA switched off; no second model
Untrained     the model itself before its first step; for losses whose scores are all cached then; no second model
CachedScores  scores of the training items from one pass, kept on disk; falls back to one of the others
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from genunlearn.contracts import Domain, Examples, Objective, Reference, Splits
from genunlearn.domains.sharding import is_sharded
from genunlearn.errors import NeedNotMet
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.processes import in_turns, this_process
from genunlearn.records import replacing


class FrozenCopy:
    """A copy of the weights as they are now."""

    def __init__(self, domain: Domain) -> None:
        """Copy ``domain.module``.

        Raises:
            NeedNotMet: Its weights are cut over several processes.
        """
        if is_sharded(domain.network):
            raise NeedNotMet("sharded weights have no second copy as a reference: set parameters.kind = 'lora'")
        self._frozen = copy.copy(domain)
        network = domain.network  # a multi-process wrapper cannot be copied
        self._frozen.module = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """``getattr(domain, name)(examples)`` on the copy."""
        return getattr(self._frozen, name)(examples, *more)


class AdapterOff:
    """The trained model with its LoRA switched off."""

    def __init__(self, domain: Any) -> None:
        """`domain`: its ``network`` is a PEFT model."""
        self._domain = domain

    @torch.no_grad()
    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """``getattr(domain, name)(examples)`` without the LoRA."""
        network = self._domain.network
        with self._domain.by_itself(), evaluating(network), network.disable_adapter():
            return getattr(self._domain, name)(examples, *more)


class Untrained:
    """The trained model as it is now: asked before training begins, and never again once it has."""

    def __init__(self, domain: Domain) -> None:
        """`domain`: has the weights of the reference still."""
        self._domain: Domain | None = domain

    @torch.no_grad()
    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """``getattr(domain, name)(examples)`` as long as nothing has been trained.

        Raises:
            NeedNotMet: Training has begun, and the method's `reference_scores` do not name this.
        """
        if self._domain is None:
            raise NeedNotMet(f"the loss asks the reference for {name!r}, but its method does not declare that score")
        with self._domain.by_itself(), evaluating(self._domain.module):
            return getattr(self._domain, name)(examples, *more)

    def begin(self) -> None:
        """Training begins."""
        self._domain = None


class NoReference:
    """Stands in where a method has not declared that it needs a reference."""

    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """Refuse, always.

        Raises:
            NeedNotMet: The method's `needs` do not say ``reference=True``.
        """
        raise NeedNotMet(f"the loss asks the reference for {name!r}, but its method does not declare that need")


class CachedScores:
    """Per-example answers of another reference, computed in one pass and kept in a file."""

    def __init__(self, source: Reference, path: Path | None = None) -> None:
        """`path`: safetensors file that holds the scores; None keeps them in memory only."""
        self._source = source
        self._path = path
        self._scores: dict[str, Tensor] = {}
        if path is not None and path.is_file():
            with safe_open(path, "pt") as file:
                self._scores = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def fill(self, objective: Objective, splits: Splits, domain: Domain, batch_size: int) -> None:
        """Compute what `objective` asks of the training items, in their order, if it is not there yet.

        Several processes take batches in turn. What is shaped by the batch (`Domain.batch_shaped`) is left to the
        source.
        """
        for side, name in objective.reference_scores:
            if name in domain.batch_shaped:
                continue
            items = [item for item in getattr(splits, side) or () if self._key(name, item.id) not in self._scores]

            def score(_: int, chunk: Sequence[Any], name: str = name) -> dict[str, Tensor]:
                examples = domain.collate(chunk)
                scores = self._source.ask(name, examples)
                pairs = zip(examples.ids, scores, strict=True)
                return {self._key(name, key): score.detach().cpu().clone() for key, score in pairs}

            for part in in_turns(
                domain.reference_batches(name, items, batch_size), score, is_joint=is_sharded(domain.network)
            ):
                self._scores |= part
        if self._path is not None and self._scores and this_process().is_main_process:
            with replacing(self._path) as temporary:
                save_file(self._scores, temporary)

    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """Cached scores where every example has one, the source's answer otherwise."""
        keys = [self._key(name, key) for key in examples.ids]
        if all(key in self._scores for key in keys):
            return torch.stack([self._scores[key] for key in keys]).to(examples.weight.device, non_blocking=True)
        return self._source.ask(name, examples.unscored(), *more)

    @staticmethod
    def _key(name: str, example: str) -> str:
        return f"{name}/{example}"


def make_reference(domain: Any, kind: str, path: Path | None = None) -> CachedScores:
    """The cheapest reference that the trained weights allow and any loss can ask, with a cache in front."""
    source = AdapterOff(domain) if kind == "lora" else FrozenCopy(domain)
    return CachedScores(source, path)


def needs_copy(domain: Domain, kind: str, objective: Objective) -> bool:
    """Whether a loss can ask the reference for something that only a second model knows once training has begun."""
    is_cached = not any(name in domain.batch_shaped for _, name in objective.reference_scores)
    return objective.needs.reference and kind != "lora" and not (is_cached and not objective.asks_reference_else)


def fill_reference(
    domain: Domain, kind: str, objective: Objective, splits: Splits, path: Path, batch_size: int
) -> CachedScores:
    """The reference of a loss, its scores of the training items computed, or read from `path`."""
    if kind == "lora" or needs_copy(domain, kind, objective):
        reference = make_reference(domain, kind, path)
        reference.fill(objective, splits, domain, batch_size)
        return reference
    present = Untrained(domain)
    reference = CachedScores(present, path)
    reference.fill(objective, splits, domain, batch_size)
    present.begin()
    return reference
