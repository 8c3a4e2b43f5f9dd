"""Blindspot unlearning: learn from a network that has barely seen the retain set what not to know.

    L = c mean_F [ loss(f(x), b(x)) + beta sum_j AT_j(f, b) ] + (1 - c) mean_R loss(f(x), y)

b, the blindspot network, has fresh weights and a few epochs on the retain set; AT_j is the mean squared difference of
the attention maps of layer j; c is the forget set's share of the data.

Source: Tarun, Chundawat, Mandal, Kankanhalli, "Deep Regression Unlearning" (ICML 2023), section 4.1. Authors' settings:
beta 50; AgeDB: b 2 epochs of Adam 0.01, then 1 epoch of Adam 1e-3, L1 loss, batches of 256; STS-B: b 10 epochs, then 5
epochs of Adam 1e-3, squared loss.
Deviations: c is the share over the whole data instead of every batch's own; b's answers and attention maps are computed
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.extras import with_extras
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.ops.attention_maps import attention_distance

ANSWER, MAP = "blindspot", "blindspot_map_"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BlindspotLoss(Objective[NetworkDomain]):
    """The loss against the blindspot network's answers and attention, and the training loss of the retain set."""

    name: ClassVar[str] = "blindspot_loss"
    domains: ClassVar[frozenset[str]] = frozenset({"regression"})
    needs: ClassVar[Needs] = Needs(retain=True)
    beta: float
    share: float

    def loss(self, batch: Batch, model: NetworkDomain, reference: Reference | None) -> Terms:
        """Three terms: ``forget``, ``attention`` and ``retain``."""
        terms = {}
        if batch.forget is not None:
            outputs, maps = model.features(batch.forget)
            taught = [batch.forget[f"{MAP}{number}"] for number in range(len(maps))]
            terms["forget"] = Term.of(model.loss_of(outputs, batch.forget[ANSWER]), batch.forget, "forget", self.share)
            apart = attention_distance(maps, taught)
            terms["attention"] = Term.of(apart, batch.forget, "forget", self.share * self.beta)
        if batch.retain is not None:
            terms["retain"] = Term.of(model.example_loss(batch.retain), batch.retain, "retain", 1 - self.share)
        return terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Blindspot(Protocol[NetworkDomain]):
    """Distillation of the forget set from a partly taught network."""

    name: ClassVar[str] = "blindspot"
    domains: ClassVar[frozenset[str]] = frozenset({"regression"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Tarun et al., ICML 2023"
    equation: ClassVar[str] = "c [loss(f, b) + beta AT(f, b)] on F + (1 - c) loss(f, y) on R"

    beta: Annotated[float, Field(ge=0, description="weight of the attention maps")] = 50.0
    blindspot_epochs: Annotated[int, Field(ge=1, description="epochs of the blindspot network on the retain set")] = 2
    blindspot_rate: Annotated[float, Field(gt=0, description="its learning rate")] = 0.01
    blindspot_batch: Annotated[int, Field(ge=1, description="its batch size")] = 256
    seed: Annotated[int, Field(ge=0, description="of the blindspot network's weights and data order")] = 0

    def run(self, train: Train, model: NetworkDomain, splits: Splits, journal: Journal) -> Outcome:
        """Teach the blindspot network, ask it about the forget set, then train."""
        retain = splits.retain or ()
        blindspot = model.fresh(self.seed)
        settings = FitConfig(
            epochs=self.blindspot_epochs,
            learning_rate=self.blindspot_rate,
            batch_size=self.blindspot_batch,
            warm_share=None,
        )
        fit(blindspot, retain, settings, seed=self.seed)
        forget = _asked(blindspot, splits.forget)
        share = len(forget) / (len(forget) + len(retain))
        train(BlindspotLoss(beta=self.beta, share=share), with_sides(splits, forget, retain))
        return Outcome(status="trained", reason=f"learnt from a network of {self.blindspot_epochs} epochs")


@torch.no_grad()
def _asked(blindspot: Any, items: Sequence[Item], batch_size: int = 256) -> list[Item]:
    """The items with the blindspot network's answers and attention maps."""
    asked: list[Item] = []
    for start in range(0, len(items), batch_size):
        part = items[start : start + batch_size]
        outputs, maps = blindspot.features(blindspot.collate(part))
        named = {f"{MAP}{number}": layer.cpu() for number, layer in enumerate(maps)}
        asked += with_extras(part, **{ANSWER: outputs.cpu()}, **named)
    return asked
