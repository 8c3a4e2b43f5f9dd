"""Task-vector negation: train on what is to go, then step as far the other way.

    theta = theta_0 - alpha ( theta_F - theta_0 )

theta_F are the weights after further training on the forget set.

Source: Ilharco et al., "Editing Models with Task Arithmetic" (ICLR 2023), section 3.
Deviations: alpha, chosen on held-out data there, is doubled from `alpha` on until no forget question is answered with
the truth, or what must stay falls below `utility_floor`; ``doublings = 0`` is the fixed form. With a LoRA the task
vector is the LoRA itself, and its negative is an exact patch.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Splits, Train, with_sides
from genunlearn.data.lm.telling import recall
from genunlearn.domains.sharding import part
from genunlearn.methods.general.supervised import Supervised
from genunlearn.methods.lm.base.rounds import Watched


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TaskVector(Watched):
    """Negation of a task vector."""

    name: ClassVar[str] = "task_vector"
    needs: ClassVar[Needs] = Needs()
    paper: ClassVar[str] = "Ilharco et al., ICLR 2023"
    equation: ClassVar[str] = "theta_0 - alpha (theta_F - theta_0)"

    alpha: Annotated[float, Field(gt=0, description="how far to step the other way, to begin with")] = 1.0
    doublings: Annotated[int, Field(ge=0, description="how often alpha is doubled while the truth is told")] = 5
    steps: Annotated[int | None, Field(ge=1, description="steps of training; by default train.max_steps")] = None

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Train on the forget set, then put the negated change in place of what was trained."""
        best, before = self.watch(train, model, splits, journal, unit="alpha"), _changing(model)
        train(Supervised(), with_sides(splits, (), splits.forget), steps=self.steps)
        change = {name: weight - before[name] for name, weight in _changing(model).items()}
        rows: list[dict[str, Any]] = []
        for strength in (self.alpha * 2**n for n in range(self.doublings + 1)):
            _set(model, {name: before[name] - strength * step for name, step in change.items()})
            told = journal.stage(f"alpha {strength:g}/recall", lambda: recall(model, splits.forget))
            rows.append({"alpha": strength, "forget_recall": told})
            best.offer(told, strength)
            if best.recall == 0 or best.refused:  # a greater step would ruin more
                break
        return self.outcome(best, rows)


def _changing(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the weights that a change is linear in: of a LoRA, which begins as 0, its second factor."""
    trained = {name: weight for name, weight in model.module.named_parameters() if weight.requires_grad}
    second = {name: weight for name, weight in trained.items() if "lora_B" in name}
    return {name: part(weight).detach().clone() for name, weight in (second or trained).items()}


@torch.no_grad()
def _set(model: Any, weights: dict[str, torch.Tensor]) -> None:
    named = dict(model.module.named_parameters())
    for name, weight in weights.items():
        part(named[name]).copy_(weight)
