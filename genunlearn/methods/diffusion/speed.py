"""SPEED: replace concepts within the null space of what is to stay.

    Delta = W (A - T) P [I - M K (K^T P M K)^-1 K^T P] M
    T = mean c c^T,  A = mean c* c^T,  M = (T P + r I)^-1

P projects onto the directions that preserved prompts hardly use, so that their answers do not move; K holds
inputs whose answers must not move at all: the start token and centres of the empty prompt's tokens.

Source: Li et al., "SPEED: Scalable, Precise, and Efficient Concept Erasure for Diffusion Models" (ICLR 2026).
Deviations: the filter keeps preserved prompts that an edit without null space would move more than the mean, counted
over all layers together instead of in each, so that all layers share one map; preserved prompts are not
augmented by noise; tokens as in `UCE`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Needs, Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import Tokens, apply_map, concept_columns, preserved_columns
from genunlearn.ops.clusters import k_means
from genunlearn.ops.embeddings import gram_of
from genunlearn.ops.linear_edits import null_space_map, null_space_projector, replace_map, without_shared


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SPEED(Edit[Diffusion]):
    """Closed-form replacement that leaves preserved prompts exactly where they are."""

    name: ClassVar[str] = "speed"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Li et al., ICLR 2026"
    equation: ClassVar[str] = "Delta = W (A - T) P [I - M K (K^T P M K)^-1 K^T P] M"

    ridge: Annotated[float, Field(gt=0, description="r, the pull towards the original weights")] = 1.0
    threshold: Annotated[float, Field(gt=0, description="mean square below which a direction is unused")] = 0.1
    centres: Annotated[int, Field(ge=0, description="centres of the empty prompt that must not move")] = 3
    is_filtered: Annotated[bool, Field(description="preserve what an edit would move most")] = True
    values_only: Annotated[bool, Field(description="edit values and leave keys as they are")] = True
    tokens: Annotated[Tokens, Field(description="all that carry a concept, or its last word's alone")] = "all"

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Edit every layer that reads the prompt."""
        preserve = preserved_columns(model, splits.retain, self.tokens)
        columns = concept_columns(model, splits.forget, self.tokens)
        sources, targets = without_shared(*columns, preserve)
        if self.is_filtered:
            preserve = self._moved_most(model, sources, targets, preserve)
        empty = model.encode_prompts([""]).tokens[0].float().cpu()
        fixed = torch.cat([empty[:1], k_means(empty[1:], self.centres)]) if self.centres else empty[:1]
        projector = null_space_projector(preserve, self.threshold)
        edit = null_space_map(sources, targets, projector, fixed, ridge=self.ridge)
        free = int(projector.diagonal().sum().round())
        return apply_map(model, edit, values_only=self.values_only, edited_tokens=len(sources), free_directions=free)

    def _moved_most(self, model: Diffusion, sources: Tensor, targets: Tensor, preserve: Tensor) -> Tensor:
        """Preserved inputs whose answers an edit without null space would move more than the mean does."""
        layers = model.prompt_layers(values_only=self.values_only).values()
        gram = gram_of([layer.weight for layer in layers])
        rows = preserve.double()
        shift = replace_map(sources, targets, ridge=self.ridge)(rows) - rows
        moved = (shift @ gram * shift).sum(1)
        return preserve[moved >= moved.mean()]
