"""DELETE: distil the original with the true class taken out, on the forget set alone.

    L = mean_F KL( softmax(z_0 masked at y) || f(x) )

z_0 are the original's logits; the label's one is set to -1e10, so that the rest keep their ratios.

Source: Zhou et al., "Decoupled Distillation to Erase: A General Unlearning Method for Any Class-centric Tasks" (CVPR
2025). Authors' settings (CIFAR-10): SGD with momentum 0.9, learning rate 1e-4, 20 epochs, batches of 128.
Deviations: the original's logits are constant and computed once. On a language model every token of an answer is an
example of its own class, the mean over an answer's tokens is the example's loss, and the original is asked at every
step, since logits over a vocabulary are too many to keep.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, LabelledDomain, Needs, Objective, Term, Terms
from genunlearn.ops.divergences import kl_divergence

MASKED = -1e10


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Delete(Objective[LabelledDomain]):
    """Distillation from the original without the true class."""

    name: ClassVar[str] = "delete"
    asks: ClassVar[frozenset[str]] = frozenset({"output_logits", "output_labels"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "output_logits"),)
    paper: ClassVar[str] = "Zhou et al., CVPR 2025"
    equation: ClassVar[str] = "KL(f_0 without the true class || f) on F"

    def loss(self, batch: Batch, model: LabelledDomain, reference: Any) -> Terms:
        """One term, ``forget``; retain examples are not looked at."""
        if batch.forget is None:
            return {}
        teacher = reference.ask("output_logits", batch.forget)
        labels = model.output_labels(batch.forget)
        target = teacher.float().scatter(-1, labels.clamp_min(0)[..., None], MASKED)
        values = kl_divergence(target, model.output_logits(batch.forget), counted=labels >= 0)
        return {"forget": Term.of(values, batch.forget, "forget")}
