"""Classifiers and regressors: any ``nn.Module``, or a folder in the hub's format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.errors import DataError


class Classifier(NetworkDomain):
    """A network with one logit for each class; a target is a class number.

    Example:
        >>> domain = Classifier(nn.Linear(4, 3))
    """

    name = "classifier"
    offers = NetworkDomain.offers | {"output_labels"}

    def loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, ``(batch,)`` in float32."""
        return F.cross_entropy(outputs.float(), target, reduction="none")

    def check(self, items: Sequence[LabelledItem]) -> None:
        """Refuse items that this network cannot be trained on.

        Raises:
            DataError: A target is no class number, or one that the network has no output for; or items differ in shape.
            MismatchError: The network cannot be asked about the items.
        """
        self.check_alike(items)
        targets = torch.stack([item.target for item in items])
        if targets.is_floating_point() or targets.dim() != 1:
            raise DataError(
                f"targets of shape {tuple(targets.shape)} and type {targets.dtype} for a classifier: "
                "give class numbers, one integer for each item (or use the regression domain)"
            )
        classes = self.num_outputs(items[0])
        outside = (targets < 0) | (targets >= classes)
        if outside.any():
            first = int(outside.nonzero()[0])
            raise DataError(
                f"label {int(targets[first])} of item {items[first].id!r}: "
                f"the network has {classes} outputs, so labels are 0 to {classes - 1}"
            )


class Regressor(NetworkDomain):
    """A network with one number, or several, for each example; a target is a number or a vector of them."""

    name = "regression"

    def __init__(
        self,
        module: nn.Module,
        *,
        error: Literal["mse", "l1", "huber"] = "mse",
        scale: float = 1.0,
        **options: Any,
    ) -> None:
        """Wrap a network.

        Args:
            module: The network.
            error: The training loss: squared, absolute, or Huber error (threshold 1).
            scale: Unit in which errors are counted, usually the standard deviation of the targets: losses of networks
                that answer in years or in euros then have the same size, and so have their gradients.
            options: As for every network, see `NetworkDomain`.
        """
        super().__init__(module, **options)
        self.error = error
        self.scale = scale

    def loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The error of each example in units of `scale`, averaged over its outputs, ``(batch,)`` in float32."""
        errors: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
        aligned = target.float().reshape(len(target), -1) / self.scale
        return errors[self.error](outputs.float() / self.scale, aligned, reduction="none").mean(1)

    def check(self, items: Sequence[LabelledItem]) -> None:
        """Refuse items that this network cannot be trained on.

        Raises:
            DataError: A target is not a finite number, or has another length than the network's output; or items differ
                in shape.
            MismatchError: The network cannot be asked about the items.
        """
        self.check_alike(items)
        targets = torch.stack([item.target for item in items]).float().reshape(len(items), -1)
        outputs = self.num_outputs(items[0])
        if targets.shape[1] != outputs:
            raise DataError(
                f"targets of {targets.shape[1]} numbers for a network with {outputs} outputs: classes are whole"
            )
        if not targets.isfinite().all():
            first = int((~targets.isfinite().all(1)).nonzero()[0])
            raise DataError(f"item {items[first].id!r}: its target is not finite; remove it or fill it in")
