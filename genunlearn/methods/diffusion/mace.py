"""MACE's closed forms: refine keys and values for the words around a concept, and fuse one LoRA a concept.

    refine   min_V  sum_i |V c_i - W c_i*|^2 + b sum_j |V p_j - W p_j|^2 + lam |V - W|^2
    fuse     min_U  sum_ij |U k_ij - (V + Delta_i) k_ij|^2 + b sum_j |U p_j - V p_j|^2 + lam |U - V|^2

where Delta_i is the change of the LoRA of concept i and k_ij are the tokens that carry this concept.

Source: Lu et al., "MACE: Mass Concept Erasure in Diffusion Models" (CVPR 2024), eq. 3 and 8.
Deviations: the LoRAs are trained elsewhere (any method of this package, exported as ``lora``) and given as
files in the order of the concepts; without files the edit ends after refinement. What is to stay comes from
preserved prompts of the request instead of sums over captions, so `ridge` and `preserve_scale` are on another
scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.data.diffusion.concepts import augmented
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import apply_map, concept_columns, preserved_columns
from genunlearn.domains.diffusion.weights import read_lora
from genunlearn.errors import MismatchError
from genunlearn.ops.linear_edits import (
    LowRank,
    fuse_changes,
    replace_map,
    ridge_rows,
    stack_keys,
    without_shared,
)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MACE(Edit[Diffusion]):
    """Closed-form refinement and fusion."""

    name: ClassVar[str] = "mace"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Lu et al., CVPR 2024"
    equation: ClassVar[str] = "min_U sum |U k - (V + Delta_i) k|^2 + b sum |U p - V p|^2 + lam |U - V|^2"

    ridge: Annotated[float, Field(gt=0, description="lam, the pull towards the weights before")] = 0.1
    preserve_scale: Annotated[float, Field(ge=0, description="b, weight of each preserved token")] = 1.0
    loras: Annotated[tuple[str, ...], Field(description="LoRA files, one for each concept in order")] = ()
    templates: Annotated[tuple[str, ...], Field(description="prompts besides the request's")] = (
        "a photo of {}",
        "an image of {}",
        "a picture of {}",
    )

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Refine, then fuse the LoRAs where there are any.

        Raises:
            MismatchError: Not one LoRA for each concept, or a LoRA of layers that do not read the prompt.
        """
        prompts = augmented(splits.forget, self.templates)
        concepts = list(dict.fromkeys(prompt.concept for prompt in prompts))
        if self.loras and len(self.loras) != len(concepts):
            raise MismatchError(
                f"loras names {len(self.loras)} files for {len(concepts)} concepts ({', '.join(concepts)}): "
                "give one for each, in order"
            )
        loras = [self._read(model, path) for path in self.loras]
        preserve = preserved_columns(model, splits.retain)
        sources, targets = without_shared(*concept_columns(model, prompts), preserve)
        edit = replace_map(sources, targets, preserve, ridge=self.ridge, preserve_weight=self.preserve_scale)
        report = apply_map(model, edit, edited_tokens=len(sources), fused=len(loras))
        if loras:
            own = [[p for p in prompts if p.concept == concept] for concept in concepts]
            self._fuse(model, loras, [concept_columns(model, group)[0] for group in own], preserve)
        return report

    def _fuse(self, model: Diffusion, loras: list[dict[str, LowRank]], keys: list[Tensor], preserve: Tensor) -> None:
        rows = ridge_rows(*stack_keys(torch.cat(keys), preserve, None, self.preserve_scale), self.ridge)
        changes = {}
        for name, layer in model.prompt_layers().items():
            nothing = LowRank(torch.zeros(layer.out_features, 1), torch.zeros(1, layer.in_features))
            own = [lora.get(name, nothing) for lora in loras]
            moved = [LowRank(c.up.to(rows.device), c.down.to(rows.device)) for c in own]
            changes[name] = fuse_changes(moved, keys, rows)
        model.apply_low_rank(changes)

    def _read(self, model: Diffusion, path: str) -> dict[str, LowRank]:
        changes = read_lora(Path(path), model.family.network)
        if foreign := sorted(changes.keys() - model.prompt_layers().keys()):
            raise MismatchError(f"{path}: changes {foreign[0]}, which does not read the prompt: train with 'strict'")
        return changes
