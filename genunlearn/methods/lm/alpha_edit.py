"""AlphaEdit: write other answers into several MLPs, within the directions that kept keys hardly have.

    W_l' = W_l + R_l K_l^T P_l (K_l K_l^T P_l + r I)^-1

P_l projects onto the eigenvectors of C_l with small eigenvalues, so what is read elsewhere is answered as before; R_l,
K_l and C_l are those of MEMIT.

Source: Fang et al., "AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models" (ICLR 2025), eq. 13, for
one edit without earlier ones; for unlearning: Li et al., "Editing as Unlearning" (2025). Authors' settings: layers 4 to
8 of 32 (Llama 3 8B), eigenvalues below 0.02, r 10.
Deviations: as in `MEMIT`; `threshold` and `ridge` are shares of the kept keys' own size, so that they mean the same in
any model.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT
from genunlearn.methods.lm.base.spread import SpreadEdit
from genunlearn.ops.key_value_edits import null_space_change


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AlphaEdit(SpreadEdit):
    """Null-space constrained editing."""

    name: ClassVar[str] = "alpha_edit"
    paper: ClassVar[str] = "Fang et al., ICLR 2025"
    equation: ClassVar[str] = "W_l + R_l K_l^T P_l (K_l K_l^T P_l + r I)^-1"

    threshold: Annotated[
        float, Field(gt=0, description="directions below this share of the average eigenvalue are free")
    ] = 0.1
    ridge: Annotated[float, Field(gt=0, description="r, as a share of a kept key's mean squared length")] = 0.01

    def change(self, keys: Tensor, residuals: Tensor, moment: Tensor) -> Tensor:
        """New keys within the free directions, ``(out, d)``."""
        return null_space_change(keys, residuals, moment, self.threshold, self.ridge)
