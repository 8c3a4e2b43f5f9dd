"""MEMIT: write other answers into several MLPs at once, each taking its share of the way.

    W_l' = W_l + R_l K_l^T (lambda C_l + K_l K_l^T)^-1,   R_l = (z - h_L) / (L - l + 1)

z are the states after the last edited layer L that make the other answers likely, h_L the present ones, K_l what layer
l's projection reads at the subjects' last tokens, C_l the second moment of what it reads elsewhere.

Source: Meng et al., "Mass-Editing Memory in a Transformer" (ICLR 2023), eq. 14 and 20. Authors' settings: layers 3 to 8
of 28 (GPT-J), lambda 15000, 25 steps at 0.5, decay 0.5, KL 0.0625, clamp 0.75.
Deviations: as in `ROME`; every phrasing of a fact is a key of its own; lambda is `preserve` for each dimension of a
key, so that 1 is about the authors' value (15000 for 16384 dimensions) and means the same in a smaller model.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT
from genunlearn.methods.lm.base.spread import SpreadEdit
from genunlearn.ops.key_value_edits import weighted_change


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MEMIT(SpreadEdit):
    """Mass-editing memory in a transformer."""

    name: ClassVar[str] = "memit"
    paper: ClassVar[str] = "Meng et al., ICLR 2023"
    equation: ClassVar[str] = "W_l + R_l K_l^T (lambda C_l + K_l K_l^T)^-1"

    preserve: Annotated[float, Field(gt=0, description="lambda for each dimension of a key")] = 1.0
    ridge: Annotated[float, Field(gt=0, description="added to C's diagonal, as a share of its mean")] = 0.01

    def change(self, keys: Tensor, residuals: Tensor, moment: Tensor) -> Tensor:
        """New keys against kept ones, in least squares, ``(out, d)``."""
        return weighted_change(keys, residuals, moment, self.preserve * keys.shape[1], self.ridge)
