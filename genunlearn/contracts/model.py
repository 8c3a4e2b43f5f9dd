"""A model as engine, methods, attacks and runs see it."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from genunlearn.contracts.data import Batch, Examples
from genunlearn.errors import NeedNotMet


class Domain(abc.ABC):
    """A model of one kind: everything that engine, methods and runs ask of it.

    What only some kinds can answer is listed in `offers` by the name of the method that answers it; a general method
    fits every domain that offers what it asks.

    Attributes:
        module: The network, perhaps wrapped for LoRA or for several processes.
        learns_statistics: Whether training moves running statistics, so that checkpoints hold them too.
        frozen: Names of weights that are never trained, whatever is asked to be.
    """

    name: ClassVar[str]
    offers: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    has_labels: ClassVar[bool] = False
    """Whether its examples say what is learnt about them (`genunlearn.data.relabel`), so that another can be put there.
    """
    lora_task: ClassVar[str | None] = None
    """PEFT's name of what a LoRA on this domain is trained for."""
    batch_shaped: ClassVar[frozenset[str]] = frozenset()
    """What a reference may be asked whose shape depends on the batch: it is never kept by example."""

    module: nn.Module
    origin: Mapping[str, Any] = MappingProxyType({})
    """Where the weights came from and how they were loaded; empty for a network that did not come from files."""
    learns_statistics: bool = False
    frozen: frozenset[str] = frozenset()
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages of extras that its models need (`genunlearn.registry.EXTRAS`)."""

    @abc.abstractmethod
    def collate(self, items: Sequence[Any]) -> Examples:
        """Turn items of this domain into a batch on the model's device, every weight 1."""

    @abc.abstractmethod
    def example_loss(self, examples: Examples) -> Tensor:
        """The training loss of each example, ``(batch,)``."""

    def score_together(self, batch: Batch, asked: Sequence[tuple[str, str]]) -> Batch:
        """The batch with what a loss is about to ask of it, ``(side, name)``, answered in one pass where that can be.

        By default nothing is: each call goes through the model by itself.
        """
        return batch

    def reference_batches(self, name: str, items: Sequence[Any], size: int) -> list[Sequence[Any]]:
        """Items in the batches in which a reference answers `name` for all of them: by default `size` at a time."""
        return [items[start : start + size] for start in range(0, len(items), size)]

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write the whole model into `folder`."""

    @property
    def network(self) -> Any:
        """The module without the wrapper of a multi-process run."""
        return self.module.module if isinstance(self.module, nn.parallel.DistributedDataParallel) else self.module

    @contextmanager
    def by_itself(self) -> Iterator[None]:
        """Within the block `module` is called without that wrapper, which makes all processes call it equally often."""
        wrapped, self.module = self.module, self.network
        try:
            yield
        finally:
            self.module = wrapped

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def base_sha256(self) -> str | None:
        """Hash that identifies the weights as they were loaded; None for a model that came from no files."""
        return None

    def sample_loss(self, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
        """The loss of one example as a function of the weights; only of domains that offer it."""
        raise NeedNotMet(f"domain {self.name!r} has no loss of a single example")

    def parameter_names(self, pattern: str) -> tuple[str, ...] | None:
        """Parameters that `pattern` stands for; None in a domain without words of its own for its weights."""
        return None

    def layer_names(self, pattern: str) -> tuple[str, ...] | None:
        """Layers of those parameters that a LoRA can stand beside; None as above."""
        return None

    def work_done(self) -> dict[str, Any]:
        """What the model has been asked to do so far (forwards, tokens), for the cost of a record."""
        return {}


class LabelledDomain(Domain):
    """A model whose outputs are logits over labels: the classes of a classifier, the tokens of an answer."""

    @abc.abstractmethod
    def output_logits(self, examples: Examples) -> Tensor:
        """The outputs that distillation compares, ``(batch, ..., labels)``."""

    @abc.abstractmethod
    def output_labels(self, examples: Examples) -> Tensor:
        """What they are to give, ``(batch, ...)``; negative where nothing counts."""


class Reference(Protocol):
    """The frozen model inside a loss."""

    def ask(self, name: str, examples: Examples, *more: Any) -> Tensor:
        """What ``getattr(domain, name)(examples, *more)`` gives on the frozen weights, without gradient."""
