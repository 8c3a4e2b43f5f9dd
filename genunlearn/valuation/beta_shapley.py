"""Beta-Shapley: the Shapley value with more weight on small coalitions, where what a player adds is seen best.

    v_i = E_pi [ w_j (U(P_i U i) - U(P_i)) ],   j: the place of i in the order pi
    w_j = n C(n-1, j-1) B(j + beta - 1, n - j + alpha) / B(alpha, beta)

``alpha = beta = 1`` is the Shapley value. A large `alpha` favours the first places.

Source: Kwon and Zou, "Beta Shapley: a Unified and Noise-reduced Data Valuation Framework for Machine Learning" (AISTATS
2022), equations 3 to 5.
Deviations: the number of orders is fixed, as in `tmc_shapley`. The values do not sum to U(D) - U(nobody).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.contracts import STRICT
from genunlearn.valuation.tmc_shapley import TMCShapley


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BetaShapley(TMCShapley):
    """Shapley value with more weight on small coalitions."""

    name: ClassVar[str] = "beta_shapley"
    paper: ClassVar[str] = "Kwon and Zou, AISTATS 2022"
    equation: ClassVar[str] = "v_i = E_pi [w_j (U(P_i U i) - U(P_i))]"

    alpha: Annotated[float, Field(gt=0, description="large: first places count most")] = 16.0
    beta: Annotated[float, Field(gt=0, description="large: last places count most")] = 1.0

    @override
    def weights(self, count: int) -> np.ndarray:
        from scipy.special import betaln

        place = np.arange(1, count + 1)
        # C(n-1, j-1) = 1 / (n B(j, n-j+1)): in logarithms, which large n do not overflow
        logs = betaln(place + self.beta - 1, count - place + self.alpha)
        logs -= betaln(place, count - place + 1) + betaln(self.alpha, self.beta)
        return np.exp(logs)
