"""ROME: write another answer for a subject into one MLP, by a change of rank one.

    W' = W + r (C^-1 k)^T / (k^T C^-1 k)

k is what the projection reads at the subject's last token, averaged over the fact's questions; r is the shift of what
it writes there that makes the other answer likely; C is the second moment of what it reads elsewhere.

Source: Meng et al., "Locating and Editing Factual Associations in GPT" (NeurIPS 2022), section 3.1, eq. 2 to 4.
Authors' settings: layer 17 of 48 (GPT-2 XL) or 5 of 28 (GPT-J), 20 to 25 steps at 0.5, decay 0.5, KL 0.0625, clamp 4;
C over 100,000 samples of Wikipedia.
Deviations: keys are averaged over the fact's own phrasings instead of random prefixes; the KL guard is on retain
questions that name the subject instead of "SUBJECT is a"; C is over the retain items, with `ridge` for the directions
that these lack; the search's step is in units of the state's own length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT, Splits
from genunlearn.data.lm.facts import Fact
from genunlearn.domains.lm.hidden import down_projection, layer_at
from genunlearn.methods.lm.base.editing import FactEdit, add, kept_keys, keys_at
from genunlearn.ops.key_value_edits import rank_one_change, second_moment

DEPTH = 5 / 28


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ROME(FactEdit):
    """Rank-one model editing."""

    name: ClassVar[str] = "rome"
    paper: ClassVar[str] = "Meng et al., NeurIPS 2022"
    equation: ClassVar[str] = "W + r (C^-1 k)^T / (k^T C^-1 k)"

    layer: Annotated[
        int | None, Field(ge=0, description="decoder layer from 0; by default the one at 5/28 of the depth")
    ] = None
    ridge: Annotated[float, Field(gt=0, description="added to C's diagonal, as a share of its mean")] = 0.01

    def edited(self, model: Any) -> Sequence[nn.Module]:
        """The one layer."""
        layers = model.decoder_layers()
        return [layers[layer_at(self.layer, DEPTH, len(layers))]]

    def write(self, model: Any, splits: Splits, facts: dict[str, Fact], wanted: dict[str, str]) -> Sequence[Tensor]:
        """One change of rank one for each fact, one after the other, in the same matrix."""
        (layer,) = self.edited(model)
        weight = down_projection(layer).weight
        moment = second_moment(kept_keys(model, layer, splits.retain or ()))
        for key, fact in facts.items():
            shift, asked = self.shift(model, layer, splits, fact, wanted[key])
            add(weight, rank_one_change(keys_at(model, layer, asked).mean(0), shift, moment, self.ridge))
        return [weight]
