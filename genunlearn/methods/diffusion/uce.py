"""UCE: edit all concepts of a request at once, in closed form.

    W' = (lam W + a sum_i v_i* c_i^T + b sum_j (W p_j) p_j^T) (lam I + a sum_i c_i c_i^T + b sum_j p_j p_j^T)^-1
    v_i* = W c_i*    (or, ``orthogonal``, without its part along W c_i)

for every key and value matrix W of cross-attention; c_i embeds a token of a concept, c_i* of its anchor,
p_j of what is to stay. Erasing is an empty or general anchor, replacing a specific one, and debiasing
several anchors that share a concept: the edit meets them in the middle.

Source: Gandikota et al., "Unified Concept Editing in Diffusion Models" (WACV 2024), eq. 7 and its code.
Deviations: every token that carries a concept is edited (``tokens = last`` is the published choice); all layers share
one solve, see `genunlearn.ops.linear_edits`; a concept's tokens that a preserved prompt shares are left
out; debiasing weighs anchors evenly instead of iterating against a classifier of images. SD 3 and FLUX have
no cross-attention: the layer that takes the prompt in is edited, and their pooled prompt stays as it is.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import Tokens, apply_map, concept_columns, preserved_columns
from genunlearn.ops.linear_edits import (
    orthogonal_errors,
    replace_map,
    ridge_rows,
    stack_keys,
    value_change,
    without_shared,
)

Value = Literal["replace", "orthogonal"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class UCE(Edit[Diffusion]):
    """Closed-form erase, replace, debias and preserve."""

    name: ClassVar[str] = "uce"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Gandikota et al., WACV 2024"
    equation: ClassVar[str] = "W' = (lam W + a sum v* c^T + b sum Wp p^T)(lam I + a sum c c^T + b sum p p^T)^-1"

    erase_scale: Annotated[float, Field(ge=0, description="a, weight of an edited token; 0 edits nothing")] = 1.0
    preserve_scale: Annotated[float, Field(ge=0, description="b, weight of each preserved token")] = 1.0
    ridge: Annotated[float, Field(gt=0, description="lam, the pull towards the original weights")] = 0.5
    tokens: Annotated[Tokens, Field(description="all that carry a concept, or its last word's alone")] = "all"
    value: Annotated[Value, Field(description="what a concept is to give: its anchor's value or a part of it")] = (
        "replace"
    )

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Edit every layer that reads the prompt; anchors and preserved prompts come with `splits`."""
        preserve = preserved_columns(model, splits.retain, self.tokens)
        columns = concept_columns(model, splits.forget, self.tokens)
        sources, targets = without_shared(*columns, preserve)
        scales = torch.full((len(sources),), self.erase_scale)
        if self.value == "orthogonal":
            return self._edit_values(model, sources, targets, preserve, scales)
        edit = replace_map(
            sources, targets, preserve, ridge=self.ridge, weights=scales, preserve_weight=self.preserve_scale
        )
        return apply_map(model, edit, edited_tokens=len(sources), preserved_tokens=len(preserve))

    def _edit_values(
        self, model: Diffusion, sources: Tensor, targets: Tensor, preserve: Tensor, scales: Tensor
    ) -> EditReport:
        """Wanted values differ from layer to layer; the solve does not."""
        keys, weights = stack_keys(sources, preserve, scales, self.preserve_scale)
        rows = ridge_rows(keys, weights, self.ridge)[: len(sources)]
        changes = {
            name: value_change(orthogonal_errors(layer.weight.detach(), sources, targets), rows)
            for name, layer in model.prompt_layers().items()
        }
        return EditReport(changed=model.apply_low_rank(changes), details={"rank": len(rows)})
