"""Model inversion: what a network takes for a typical member of a forgotten class, painted by gradient.

    x_y = argmin_x  CE(f(x), y) + lambda ||x||^2        from noise, several times

A network that still knows the class paints its contours. How much they look like the class is measured by Pearson's
correlation with the mean forget picture, less the mean retain picture, which takes out what all classes share.

Source: Fredrikson, Jha, Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic
Countermeasures" (CCS 2015); on unlearnt networks Graves, Nagisetty, Ganesh, "Amnesiac Machine Learning" (AAAI 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext
from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.network.items import classes_of
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.domains.network.noise import NoiseRecipe, find_noise, input_shape
from genunlearn.errors import MismatchError
from genunlearn.ops.intervals import mean
from genunlearn.records import Result

MOST_SHOWN = 4
"""Classes whose pictures are shown to people."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelInversion(Attack[NetworkDomain]):
    """Pictures of each forgotten class, and how much they look like it."""

    name: ClassVar[str] = "inversion_likeness"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    pictures: Annotated[int, Field(ge=1, description="pictures of a class, each from its own noise")] = 8
    steps: Annotated[int, Field(ge=1, description="steps of Adam")] = 200
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.05
    l2_weight: Annotated[float, Field(ge=0, description="lambda, weight of a picture's squared norm")] = 0.01
    most_classes: Annotated[int, Field(ge=1, description="classes at most, the lowest numbers first")] = 10
    seed: Annotated[int, Field(ge=0, description="of the noise")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"weights; {self.steps} gradient steps for each of {self.pictures} pictures of a class"

    def paint(self, model: NetworkDomain, label: int, example: LabelledItem) -> Tensor:
        """Pictures of a class, ``(pictures, ...)`` on the CPU; of `example` only the shape is looked at.

        Raises:
            MismatchError: The network takes something else than real numbers.
        """
        recipe = NoiseRecipe(
            count=self.pictures, steps=self.steps, learning_rate=self.learning_rate, l2_weight=self.l2_weight
        )
        return find_noise(model, label, example, recipe, is_maximising=False, seed=self.seed)

    def illustrate(self, model: NetworkDomain, splits: Splits[AttackContext]) -> Mapping[str, Tensor]:
        """The pictures of the first forgotten classes; none where items are no pictures."""
        inputs = list(splits.forget[0].inputs.values())
        if len(inputs) != 1 or inputs[0].dim() != 3 or inputs[0].shape[0] not in (1, 3):
            return {}
        labels = classes_of(splits.forget)[:MOST_SHOWN]
        return {f"class {label}": self.paint(model, label, splits.forget[0]) for label in labels}

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """One result a forgotten class, with its bootstrap interval over pictures; skipped where inputs are words."""
        try:
            input_shape(splits.forget)
        except MismatchError as error:
            return [self.skip(target, str(error))]
        common = _mean_picture(splits.retain) if splits.retain else 0.0
        results = []
        for label in classes_of(splits.forget)[: self.most_classes]:
            own = [item for item in splits.forget if int(item.target) == label]
            found = correlation(self.paint(model, label, own[0]), _mean_picture(own) - common)
            results.append(self.result(target, mean(found.tolist()), len(found), group=f"class {label}"))
        return results


def correlation(pictures: Tensor, template: Tensor) -> Tensor:
    """Pearson's correlation of each picture with one picture, over all its numbers, ``(pictures,)`` in [-1, 1].

    Args:
        pictures: ``(pictures, ...)``.
        template: ``(...)``; a constant one correlates with nothing and gives 0.
    """
    rows, column = pictures.double().flatten(1), template.double().flatten()
    rows, column = rows - rows.mean(1, keepdim=True), column - column.mean()
    return torch.nn.functional.cosine_similarity(rows, column[None], dim=1)


def _mean_picture(items: Sequence[LabelledItem]) -> Tensor:
    return torch.stack([next(iter(item.inputs.values())) for item in items]).mean(0)
