"""Relearning: a copy of the model is taught a little, and asked on the way.

What is taught are other phrasings of the fact, which carry the answer in, or other facts (`lessons`).

Sources: Lynch et al. (2024); Hu et al., "Unlearning or Obfuscating? Jogging the Memory of Unlearned LLMs via Benign
Relearning" (ICLR 2025); Deeb and Roger, "Do Unlearning Methods Remove Information from Language Model Weights?" (2024).
Deviation: full weights with Adam, a LoRA folded in first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Level, answered, copied, is_packed
from genunlearn.attacks.lm.lessons import TaughtAttack, batches_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

Steps = Annotated[int, Field(ge=1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Relearning(TaughtAttack):
    """How much is told after so many updates, one level a lesson and number of updates."""

    name: ClassVar[str] = "relearning"

    marks: Annotated[tuple[Steps, ...], Field(min_length=1, description="updates after which it is asked")] = (
        *(1, 2, 5, 10),
    )
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 2e-5
    seed: Annotated[int, Field(ge=0, description="of the order of the questions, and of dropout")] = 0

    @property
    @override
    def budget(self) -> str:
        rate = f"{self.learning_rate:g}"
        return f"up to {max(self.marks)} updates of Adam {rate} on {self.batch_size} questions of {self.taught}"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """The weights must be open to training, and there must be something to teach."""
        if is_packed(model):
            return "quantised weights take no updates"
        return super().lacking(model, splits, beside)

    @override
    def teach(self, model: LanguageModel, taught: Sequence[QA], items: Sequence[QA], lesson: str) -> Iterator[Level]:
        student = copied(model)
        student.module.requires_grad_(True)
        # Not the fused one, whose bits depend on where tensors lie: an audit that is repeated must find the same.
        optimizer = torch.optim.Adam(student.module.parameters(), lr=self.learning_rate)
        batches = batches_of(taught, self.batch_size, self.seed)
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(self.seed)
            for step in range(1, max(self.marks) + 1):
                student.module.train()
                loss = student.example_loss(student.collate(next(batches))).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if step in self.marks:
                    student.module.eval()
                    yield answered(student, items, f"{lesson}, {step} step{'s' if step > 1 else ''}")
