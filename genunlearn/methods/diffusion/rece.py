"""RECE: edit, find what still leads to the concept, edit that too, and again.

    W' = UCE(W; c -> c*)
    repeat:  c' = (sum_l W_l'^T W_l' + r I)^-1 (sum_l W_l'^T W_l) c,   W' = UCE(W; c -> c*, every c' -> c*)

Source: Gong et al., "Reliable and Efficient Concept Erasure of Text-to-Image Diffusion Models" (ECCV 2024),
eq. 8-10.
Deviations: all layers share the map M of the embedding, W' = W M, so that c' needs S = sum_l W_l^T W_l once,
``c' = (M^T S M + r I)^-1 M^T S c``; every edit starts from the original weights and holds all pairs found so
far, because a chain of edits (``is_cumulative = False``, as published) undoes the first ones and can grow
without bound where embeddings have few dimensions; tokens as in `UCE`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import Tokens, apply_map, concept_columns, preserved_columns
from genunlearn.ops.embeddings import adversarial_inputs, gram_of
from genunlearn.ops.linear_edits import InputMap, replace_map, without_shared


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RECE(Edit[Diffusion]):
    """Closed-form edits against closed-form adversaries."""

    name: ClassVar[str] = "rece"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Gong et al., ECCV 2024"
    equation: ClassVar[str] = "c' = (sum W'^T W' + r I)^-1 sum W'^T W c;  W' = UCE(W; c, c' -> c*)"

    rounds: Annotated[int, Field(ge=0, description="adversaries found and edited; 0 is UCE")] = 1
    adversary_ridge: Annotated[float, Field(gt=0, description="r, the preference for short adversaries")] = 0.1
    erase_scale: Annotated[float, Field(ge=0, description="weight of each edited token")] = 1.0
    preserve_scale: Annotated[float, Field(ge=0, description="weight of each preserved token")] = 0.1
    ridge: Annotated[float, Field(gt=0, description="lam, the pull towards the weights before")] = 0.1
    is_cumulative: Annotated[bool, Field(description="edit all pairs found so far, not the last ones alone")] = True
    tokens: Annotated[Tokens, Field(description="all that carry a concept, or its last word's alone")] = "all"

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Edit every layer that reads the prompt, `rounds` + 1 times in one map."""
        preserve = preserved_columns(model, splits.retain, self.tokens)
        columns = concept_columns(model, splits.forget, self.tokens)
        sources, targets = without_shared(*columns, preserve)
        gram = gram_of([layer.weight for layer in model.prompt_layers().values()])
        edit = self._step(sources, targets, preserve)
        found, wanted = sources, targets
        for _ in range(self.rounds):
            adversaries = adversarial_inputs(gram, edit.matrix(), sources, self.adversary_ridge)
            if self.is_cumulative:
                found, wanted = torch.cat([found, adversaries]), torch.cat([wanted, targets])
                edit = self._step(found, wanted, preserve)
            else:
                edit = self._step(adversaries, targets, preserve).after(edit).compressed(1e-9)
        return apply_map(model, edit, edited_tokens=len(sources), rounds=self.rounds)

    def _step(self, sources: Tensor, targets: Tensor, preserve: Tensor) -> InputMap:
        scales = torch.full((len(sources),), self.erase_scale)
        return replace_map(
            sources, targets, preserve, ridge=self.ridge, weights=scales, preserve_weight=self.preserve_scale
        )
