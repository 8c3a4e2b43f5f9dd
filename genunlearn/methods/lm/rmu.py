"""RMU: send a layer's states of the forget set in one random direction, and hold those of the retain set.

    L = gamma mean_F mean_t |h(t) - c u|^2 / d + alpha mean_R mean_t |h(t) - h_ref(t)|^2 / d

h are the d-dimensional states after one layer, u is a fixed random unit vector without negative entries; with
``adaptive`` the coefficient c is `coefficient` times the norm of the original's state there.

Source: Li et al., "The WMDP Benchmark: Measuring and Reducing Malicious Use with Unlearning" (ICML 2024), section 4;
adaptive: Dang et al., "On Effects of Steering Latent Representation for Large Language Model Unlearning" (AAAI 2025),
with coefficient 5. Settings of Li et al. (Zephyr-7B): layer 7 of 32, c 6.5, alpha 1200, learning rate 5e-5, weights of
the down projections of layers 5 to 7; c 2 and alpha 1 are what TOFU is usually run with.
Deviations: of a question's answer the places count from which its tokens are predicted; ``places = "tokens"`` are
the places of the tokens themselves, as published for running text, which leave the first token of an answer as likely
as before. ``retain_loss`` may be a loss on the predictions instead.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Examples, Needs, Reference, Term, Terms
from genunlearn.domains.lm.hidden import layer_at
from genunlearn.methods.base import RETAIN_LOSS
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import answer_mean

DEPTH = 7 / 32


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RMU(ForgetAndRetain):
    """Representation misdirection for unlearning."""

    name: ClassVar[str] = "rmu"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    paper: ClassVar[str] = "Li et al., ICML 2024; Dang et al., AAAI 2025"
    equation: ClassVar[str] = "|h - c u|^2 on F + alpha |h - h_ref|^2 on R"

    layer: Annotated[
        int | None, Field(ge=0, description="decoder layer from 0; by default the one at 7/32 of the depth")
    ] = None
    coefficient: Annotated[float, Field(gt=0, description="c, length of the states' target")] = 2.0
    adaptive: Annotated[bool, Field(description="multiply c by the norm of the original's state")] = False
    places: Annotated[
        Literal["predictions", "tokens"],
        Field(description="where states are taken: at what predicts a token of the answer, or at the token itself"),
    ] = "predictions"
    retain_loss: Annotated[
        Literal["states", "nll", "kl", "js"], Field(description=f"states: the distance of the states; {RETAIN_LOSS}")
    ] = "states"  # type: ignore[assignment]
    seed: Annotated[int, Field(ge=0, description="seed of the random direction")] = 0

    def check_model(self, model: Any) -> None:
        """Refuse a model without the layer."""
        layer_at(self.layer, DEPTH, model.network.config.num_hidden_layers)

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Distance of the states from their target, ``(batch,)``."""
        states = self._states(model.layer_states(examples, self.layer, DEPTH))
        target = self.coefficient * self.direction(states.shape[-1]).to(states)
        if self.adaptive:
            before = self._states(reference.ask("layer_states", examples, self.layer, DEPTH))
            target = target * before.norm(dim=-1, keepdim=True)
        return _distance(states, target, model.output_labels(examples))

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where `alpha` is above 0, ``retain``."""
        if self.retain_loss != "states" or batch.retain is None or not self.alpha:
            return super().loss(batch, model, reference)
        states = self._states(model.layer_states(batch.retain, self.layer, DEPTH))
        target = self._states(reference.ask("layer_states", batch.retain, self.layer, DEPTH))
        values = _distance(states, target, model.output_labels(batch.retain))
        terms = super().loss(Batch(forget=batch.forget), model, reference)
        return {**terms, "retain": Term.of(values, batch.retain, "retain", self.alpha)}

    def direction(self, width: int) -> Tensor:
        """The unit vector u, ``(width,)``."""
        drawn = torch.rand(width, generator=torch.Generator().manual_seed(self.seed))
        return drawn / drawn.norm()

    def _states(self, states: Tensor) -> Tensor:
        """Those at the places that count, ``(batch, answer, width)``."""
        return (states[:, :-1] if self.places == "predictions" else states[:, 1:]).float()


def _distance(states: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    return answer_mean((states - target).square().mean(-1), labels)
