"""Negative prompt: steer every image away from the concepts while it is made.

    eps = eps(x_t, n) + s (eps(x_t, p) - eps(x_t, n)),   n = the concepts, joined by commas, in place of the
    empty prompt

Source: the negative prompt of the pipelines themselves; the baseline "NEGP" of Schramowski et al., "Safe
Latent Diffusion" (CVPR 2023).
Deviations: none. No weight changes, so there is nothing to export, and whoever leaves the rule out gets the
concept.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.data.diffusion.concepts import concept_names
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import ClassifierFree


@dataclass(config=STRICT, frozen=True, kw_only=True)
class NegativePrompt(Edit[Diffusion]):
    """The concepts as the negative prompt of every image."""

    name: ClassVar[str] = "negative_prompt"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "baseline of Schramowski et al., CVPR 2023"
    equation: ClassVar[str] = "eps(n) + s (eps(p) - eps(n))"

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Set the rule by which the model makes images."""
        negative = ", ".join(concept_names(splits.forget))
        model.rule = ClassifierFree(negative)
        return EditReport(changed=(), details={"rule": "negative_prompt", "negative": negative})
