"""The frozen model inside a loss, in three strategies behind ``ask(name, examples)``.

FrozenCopy    a second model in memory; for full-weight training
AdapterOff    the model itself with its LoRA switched off; no second model
CachedScores  scores of the training items from one pass, kept on disk; falls back to one of the two
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from genunlearn.contracts import Domain, Examples, Objective, Reference, Splits
from genunlearn.errors import NeedNotMet
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.processes import this_process
from genunlearn.records import replacing


class FrozenCopy:
    """A copy of the weights as they are now."""

    def __init__(self, domain: Domain) -> None:
        """Copy ``domain.module``."""
        self._frozen = copy.copy(domain)
        network = domain.network  # a multi-process wrapper cannot be copied
        self._frozen.module = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def ask(self, name: str, examples: Examples) -> Tensor:
        """``getattr(domain, name)(examples)`` on the copy."""
        return getattr(self._frozen, name)(examples)


class AdapterOff:
    """The trained model with its LoRA switched off."""

    def __init__(self, domain: Any) -> None:
        """`domain`: its ``network`` is a PEFT model."""
        self._domain = domain

    @torch.no_grad()
    def ask(self, name: str, examples: Examples) -> Tensor:
        """``getattr(domain, name)(examples)`` without the LoRA."""
        with self._switched_off():
            return getattr(self._domain, name)(examples)

    @contextmanager
    def _switched_off(self) -> Iterator[None]:
        wrapped, network = self._domain.module, self._domain.network
        self._domain.module = network
        try:
            with evaluating(network), network.disable_adapter():
                yield
        finally:
            self._domain.module = wrapped


class NoReference:
    """Stands in where a method has not declared that it needs a reference."""

    def ask(self, name: str, examples: Examples) -> Tensor:
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

        What is shaped by the batch (`Domain.batch_shaped`) is left to the source.
        """
        for side, name in objective.reference_scores:
            if name in domain.batch_shaped:
                continue
            items = [item for item in getattr(splits, side) or () if self._key(name, item.id) not in self._scores]
            for chunk in _chunks(items, batch_size):
                examples = domain.collate(chunk)
                for key, score in zip(examples.ids, self._source.ask(name, examples), strict=True):
                    self._scores[self._key(name, key)] = score.detach().cpu().clone()
        if self._path is not None and self._scores and this_process().is_main_process:
            with replacing(self._path) as temporary:
                save_file(self._scores, temporary)

    def ask(self, name: str, examples: Examples) -> Tensor:
        """Cached scores where every example has one, the source's answer otherwise."""
        keys = [self._key(name, key) for key in examples.ids]
        if all(key in self._scores for key in keys):
            return torch.stack([self._scores[key] for key in keys]).to(examples.weight.device)
        return self._source.ask(name, examples)

    @staticmethod
    def _key(name: str, example: str) -> str:
        return f"{name}/{example}"


def make_reference(domain: Any, kind: str, path: Path | None = None) -> CachedScores:
    """The cheapest reference that the trained weights allow, with a cache in front."""
    source = AdapterOff(domain) if kind == "lora" else FrozenCopy(domain)
    return CachedScores(source, path)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
