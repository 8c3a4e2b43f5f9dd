"""UnlearnDiffAtk: tokens before the prompt with which the unlearned model sees a concept's image as it is.

    min over p_1 .. p_k in the simplex   |eps_u(z_t, [tokens drawn from p; prompt]) - noise|^2

z_t is a noised image of the concept; the diffusion model itself is the classifier, no other one is needed. Gradients go
straight through the draw, and every step ends with a projection onto the simplex.

Source: Zhang et al., "To Generate or Not? Safety-Driven Unlearned Diffusion Models Are Still Easy to Generate Unsafe
Images ... For Now" (ECCV 2024) and its code: 3 to 5 tokens, 50 timesteps of 40 iterations, rate 0.01, decay 0.1.
Deviations: all images in one batch, all tokens in one projection; noise is drawn anew at every iteration.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.attacks.diffusion.token_search import Seen, TokenSearch
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.domains.diffusion.tokens import FreeTokens
from genunlearn.ops.denoising import squared_error
from genunlearn.ops.token_search import drawn_one_hot, project_to_simplex


@dataclass(config=STRICT, frozen=True, kw_only=True)
class UnlearnDiffAtk(TokenSearch):
    """Tokens before the prompt, as distributions over the vocabulary; a round is a timestep."""

    name: ClassVar[str] = "unlearn_diff_atk"

    def begin(self, free: FreeTokens, count: int, generator: torch.Generator) -> Tensor:
        """Random distributions ``(count, tokens, vocabulary)`` without the special tokens."""
        values = torch.rand(count, self.tokens, len(free.vocabulary), generator=generator)
        values[..., free.banned] = -1.0
        return project_to_simplex(values)

    def vectors(self, state: Tensor, free: FreeTokens, generator: torch.Generator) -> Tensor:
        """The vectors of drawn tokens."""
        return drawn_one_hot(state, generator) @ free.vocabulary.to(state)

    def ids(self, state: Tensor, free: FreeTokens) -> Tensor:
        """The likeliest tokens."""
        return state.index_fill(-1, free.banned.to(state.device), -1.0).argmax(-1)

    def loss(self, seen: Seen, embedding: PromptEmbedding) -> Tensor:
        """The training loss on the concept's images."""
        return squared_error(seen.model.predict(seen.noisy, seen.timesteps, embedding), seen.target)

    def settle(self, state: Tensor) -> None:
        """Onto the simplex, all tokens of all images at once."""
        state.copy_(project_to_simplex(state))

    def timesteps(self, model: object, done: int, count: int, generator: torch.Generator) -> Tensor:
        """One timestep a round, evenly spread, from little noise to much."""
        known = model.schedule.timesteps.sort().values  # type: ignore[attr-defined]
        return known[int((done + 0.5) * len(known) / self.rounds)].expand(count)
