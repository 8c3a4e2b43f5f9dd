"""UNSIR: impair with error-maximising noise, then repair.

    noise:   N_c = argmin -CE(f_0(N), c) + lambda mean ||N||^2        for each class c to be forgotten
    impair:  CE on the noise, labelled c, and on a sample of the retain set
    repair:  CE on the sample of the retain set

Forgets whole classes; of the forget set only the labels and the shape of an input are looked at, never an input.

Source: Tarun, Chundawat, Mandal, Kankanhalli, "Fast Yet Effective Machine Unlearning" (TNNLS 2023), section 4. Authors'
settings: 256 noise inputs a class, 40 steps of Adam 0.1, lambda 0.1; 20 copies of the noise and 1000 items of each
retained class; one epoch of impair at 0.02 and of repair at 0.01, batches of 256. Later copies train both at 1e-4.
Deviations: without rates of their own both stages use the loop's learning rate; every class's noise carries its own
label, where the authors' code labels all noise with the first class (``noise_labels = "authors"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train, with_sides
from genunlearn.data.network.items import Item, classes_of
from genunlearn.data.network.subsets import random_subset
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.noise import NoiseRecipe, find_noise
from genunlearn.methods.general.supervised import Supervised


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Unsir(Protocol[NetworkDomain]):
    """Impair and repair with learnt noise."""

    name: ClassVar[str] = "unsir"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(retain=True, whole_classes=True)
    paper: ClassVar[str] = "Tarun et al., TNNLS 2023"
    equation: ClassVar[str] = "N = argmax CE(c); CE(N, R); CE(R)"

    noise_count: Annotated[int, Field(ge=1, description="noise inputs of a class")] = 256
    noise_steps: Annotated[int, Field(ge=1, description="steps that find them")] = 40
    noise_rate: Annotated[float, Field(gt=0, description="learning rate of those steps")] = 0.1
    noise_l2: Annotated[float, Field(ge=0, description="lambda, weight of the noise's squared norm")] = 0.1
    noise_copies: Annotated[int, Field(ge=1, description="how often the noise stands in the impair data")] = 20
    noise_labels: Annotated[
        Literal["own", "authors"], Field(description="label noise with its own class, or all with the first")
    ] = "own"
    samples_per_class: Annotated[int, Field(ge=1, description="retain items of each class")] = 1000
    impair_steps: Annotated[int, Field(ge=1, description="steps of the impair stage")] = 55
    repair_steps: Annotated[int, Field(ge=1, description="steps of the repair stage")] = 35
    impair_rate: Annotated[
        float | None, Field(gt=0, description="learning rate of the impair stage; null takes the loop's")
    ] = None
    repair_rate: Annotated[
        float | None, Field(gt=0, description="learning rate of the repair stage; null takes the loop's")
    ] = None
    seed: Annotated[int, Field(ge=0, description="of the noise and of the sample")] = 0

    def run(self, train: Train, model: NetworkDomain, splits: Splits, journal: Journal) -> Outcome:
        """Find the noise, impair, repair."""
        classes = classes_of(splits.forget)
        sample = self._sample(splits.retain or ())
        noise = self._noise(model, classes, splits.forget[0])
        impaired = with_sides(splits, (), [*noise * self.noise_copies, *sample])
        train(Supervised(), impaired, steps=self.impair_steps, learning_rate=self.impair_rate)
        repaired = with_sides(splits, (), sample)
        train(Supervised(), repaired, steps=self.repair_steps, learning_rate=self.repair_rate)
        return Outcome(status="trained", reason=f"impaired and repaired for classes {', '.join(map(str, classes))}")

    def _noise(self, model: NetworkDomain, classes: Sequence[int], example: Item) -> list[Item]:
        recipe = NoiseRecipe(
            count=self.noise_count,
            steps=self.noise_steps,
            learning_rate=self.noise_rate,
            l2_weight=self.noise_l2,
        )
        name, items = next(iter(example.inputs)), []
        for number, label in enumerate(classes):
            found = find_noise(model, label, example, recipe, is_maximising=True, seed=self.seed + number)
            given = torch.tensor(label if self.noise_labels == "own" else classes[0])
            rows = enumerate(found)
            items += [Item(id=f"noise-{label}-{row}", inputs={name: noise}, target=given) for row, noise in rows]
        return items

    def _sample(self, retain: Sequence[Item]) -> list[Item]:
        sample: list[Item] = []
        for label in classes_of(retain):
            own = [item for item in retain if int(item.target) == label]
            marked = random_subset(own, min(self.samples_per_class, len(own)), self.seed).tolist()
            sample += [item for item, is_kept in zip(own, marked, strict=True) if is_kept]
        return sample
