"""TIME: make a model read one phrase as another, in closed form.

    W' = (lam W + sum_i (W c_i*) c_i^T) (lam I + sum_i c_i c_i^T)^-1

over the tokens c_i of a source prompt and the tokens c_i* of a destination prompt that they are aligned
with, in the prompts of the request and in a few general templates.

Source: Orgad et al., "Editing Implicit Assumptions in Text-to-Image Diffusion Models" (ICCV 2023), eq. 4.
Deviations: preserved prompts, which the paper does not have, enter with weight 1 where a request names them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.data.diffusion.concepts import augmented
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import apply_map, concept_columns, preserved_columns
from genunlearn.ops.linear_edits import replace_map, without_shared


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TIME(Edit[Diffusion]):
    """Closed-form replacement of aligned tokens."""

    name: ClassVar[str] = "time"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Orgad et al., ICCV 2023"
    equation: ClassVar[str] = "W' = (lam W + sum W c* c^T)(lam I + sum c c^T)^-1"

    ridge: Annotated[float, Field(gt=0, description="lam, the pull towards the original weights")] = 0.1
    values_only: Annotated[bool, Field(description="edit values and leave keys as they are")] = False
    templates: Annotated[tuple[str, ...], Field(description="prompts besides the request's")] = (
        "a photo of {}",
        "an image of {}",
        "a picture of {}",
    )

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Edit keys and values, or values alone."""
        preserve = preserved_columns(model, splits.retain)
        columns = concept_columns(model, augmented(splits.forget, self.templates))
        sources, targets = without_shared(*columns, preserve)
        edit = replace_map(sources, targets, preserve, ridge=self.ridge)
        return apply_map(model, edit, values_only=self.values_only, edited_tokens=len(sources))
