"""Edits that spread a change over the MLPs of several layers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT, Splits
from genunlearn.data.lm.facts import Fact
from genunlearn.domains.lm.hidden import down_projection, layer_at, layers_at
from genunlearn.methods.lm.base.editing import FactEdit, add, kept_keys, keys_at, states_at
from genunlearn.ops.key_value_edits import second_moment

FIRST, LAST = 3 / 28, 8 / 28


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpreadEdit(FactEdit):
    """The shift of a late state, written into the layers before it one after the other."""

    layers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(description="decoder layers from 0; by default from 3/28 to 8/28 of the depth"),
    ] = ()
    clamp: Annotated[float, Field(gt=0, description="most length of the shift, in lengths of the state")] = 0.75

    @abc.abstractmethod
    def change(self, keys: Tensor, residuals: Tensor, moment: Tensor) -> Tensor:
        """The change of one matrix, ``(out, d)``, for keys ``(n, d)`` and residuals ``(n, out)``."""

    def write(self, model: Any, splits: Splits, facts: dict[str, Fact], wanted: dict[str, str]) -> Sequence[Tensor]:
        """Find the states that make the other answers likely, then go there layer by layer."""
        layers = self.edited(model)
        last = layers[-1]
        goals = [self.shift(model, last, splits, fact, wanted[key]) for key, fact in facts.items()]
        targets = [states_at(model, last, asked) + shift for shift, asked in goals]
        weights = []
        for left, layer in zip(range(len(layers), 0, -1), layers, strict=True):
            keys = torch.cat([keys_at(model, layer, asked) for _, asked in goals])
            present = [states_at(model, last, asked) for _, asked in goals]
            residuals = (torch.cat(targets) - torch.cat(present)) / left
            moment = second_moment(kept_keys(model, layer, splits.retain or ()))
            weights.append(down_projection(layer).weight)
            add(weights[-1], self.change(keys, residuals, moment))
        return weights

    def edited(self, model: Any) -> Sequence[nn.Module]:
        """Those of `layers`, or a run of them."""
        layers = model.decoder_layers()
        count = len(layers)
        if self.layers:
            return [layers[number] for number in layers_at(self.layers, count)]
        return layers[layer_at(None, FIRST, count) : layer_at(None, LAST, count) + 1]
