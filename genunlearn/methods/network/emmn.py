"""Error minimising-maximising noise: unlearn a class without any data.

    forget noise:  N_f = argmin -CE(f_0(N), c) + lambda mean ||N||^2     for each class c to be forgotten
    retain noise:  N_k = argmin  CE(f_0(N), k) + lambda mean ||N||^2     for every other class k
    then           CE on N_f, labelled c, and on N_k, labelled k

The second kind stands in for the data of the classes that are kept. Of the forget set only the labels and the shape of
an input are looked at.

Source: Chundawat, Tarun, Mandal, Kankanhalli, "Zero-Shot Machine Unlearning" (TIFS 2023), section 4. The authors'
repository has no code for it; a public re-implementation takes 25 steps for the forget noise, 30 for the retain noise,
4 inputs of each class, then 2 epochs of Adam 1e-4.
Deviations: 64 inputs of each class and a small lambda by default. Few or small ones do not hold the kept classes: the
network then answers everything with the class that it was to forget, since that is what the forget noise is labelled.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train, with_sides
from genunlearn.data.network.items import Item, classes_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.noise import NoiseRecipe, find_noise
from genunlearn.methods.general.supervised import Supervised


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EMMN(Protocol[NetworkDomain]):
    """Zero-shot unlearning with noise in place of all data."""

    name: ClassVar[str] = "emmn"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(whole_classes=True)
    paper: ClassVar[str] = "Chundawat et al., TIFS 2023"
    equation: ClassVar[str] = "CE(noise that raises CE of c, and noise that lowers CE of every other class)"

    noise_count: Annotated[int, Field(ge=1, description="noise inputs of a class")] = 64
    forget_steps: Annotated[int, Field(ge=1, description="steps that find noise of a forgotten class")] = 60
    retain_steps: Annotated[int, Field(ge=1, description="steps that find noise of a kept class")] = 60
    noise_rate: Annotated[float, Field(gt=0, description="learning rate of those steps")] = 0.1
    noise_l2: Annotated[float, Field(ge=0, description="lambda, weight of the noise's squared norm")] = 0.001
    seed: Annotated[int, Field(ge=0, description="of the noise")] = 0

    def run(self, train: Train, model: NetworkDomain, splits: Splits, journal: Journal) -> Outcome:
        """Find noise for every class, then train on it."""
        forgotten, example = classes_of(splits.forget), splits.forget[0]
        items = []
        for label in range(model.num_outputs(example)):
            items += self._noise(model, label, example, is_forgotten=label in forgotten)
        train(Supervised(), with_sides(splits, (), items))
        return Outcome(status="trained", reason=f"trained on {len(items)} noise inputs, no data")

    def _noise(self, model: NetworkDomain, label: int, example: Item, *, is_forgotten: bool) -> list[Item]:
        recipe = NoiseRecipe(
            count=self.noise_count,
            steps=self.forget_steps if is_forgotten else self.retain_steps,
            learning_rate=self.noise_rate,
            l2_weight=self.noise_l2,
        )
        found = find_noise(model, label, example, recipe, is_maximising=is_forgotten, seed=self.seed + label)
        name, target = next(iter(example.inputs)), torch.tensor(label)
        return [Item(id=f"noise-{label}-{row}", inputs={name: noise}, target=target) for row, noise in enumerate(found)]
