"""Bad teaching: an incompetent teacher for the forget set, the original as teacher for the retain set.

    L = mean_F KL( b(x) || f(x) ) + mean_R' KL( f_0(x) || f(x) )

b is an untrained network of the same architecture, f_0 the original, R' a random share of the retain set; all
distributions at temperature T.

Source: Chundawat, Tarun, Mandal, Kankanhalli, "Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks Using
an Incompetent Teacher" (AAAI 2023), eq. 3. Authors' settings: 30% of the retain set, T = 1, 1 epoch, Adam 1e-4, batches
of 256.
Deviations: each side has its own mean and weight, where the authors' mixed batches weigh each item alike (for that,
set the weights in the ratio of the two sets' sizes); an item is shown to its own teacher only, whose answers are
computed once; KL is summed over classes, where the authors' code divides it by their number too
(``reduction = "mean"``).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Examples, Needs, Objective, Splits, Terms, with_sides
from genunlearn.data.network.subsets import random_subset
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.methods.base import two_teachers
from genunlearn.ops.divergences import Reduction, kl_divergence

TEACHERS = {"forget": "untrained_logits", "retain": "output_logits"}
"""What is asked of the frozen original for each side: answers of the untrained network, or its own."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BadTeaching(Objective[NetworkDomain]):
    """Distillation from two teachers."""

    name: ClassVar[str] = "bad_teaching"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = tuple(TEACHERS.items())
    paper: ClassVar[str] = "Chundawat et al., AAAI 2023"
    equation: ClassVar[str] = "KL(b || f) on F + KL(f_0 || f) on R"

    retain_share: Annotated[float, Field(gt=0, le=1, description="share of the retain set that is rehearsed")] = 0.3
    temperature: Annotated[float, Field(gt=0, description="T, divides all logits")] = 1.0
    forget_weight: Annotated[float, Field(ge=0, description="weight of the incompetent teacher")] = 1.0
    retain_weight: Annotated[float, Field(ge=0, description="weight of the competent teacher")] = 1.0
    reduction: Annotated[Reduction, Field(description="'mean' divides KL by the number of classes")] = "batchmean"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Draw the share of the retain set that is rehearsed."""
        retain = list(splits.retain or ())
        if self.retain_share < 1 and retain:
            kept = random_subset(retain, max(1, round(self.retain_share * len(retain))), seed).tolist()
            retain = [item for item, is_kept in zip(retain, kept, strict=True) if is_kept]
        return with_sides(splits, splits.forget, retain)

    def loss(self, batch: Batch, model: NetworkDomain, reference: Any) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        weights = {"forget": self.forget_weight, "retain": self.retain_weight}

        def apart(side: str, examples: Examples) -> Tensor:
            teacher, student = reference.ask(TEACHERS[side], examples), model.output_logits(examples)
            return kl_divergence(teacher, student, temperature=self.temperature, reduction=self.reduction)

        return two_teachers(batch, apart, weights)
