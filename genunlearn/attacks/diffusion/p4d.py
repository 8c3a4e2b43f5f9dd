"""P4D: tokens with which the unlearned model predicts what the original predicts for the concept.

    min over c   |eps_u(z_t, nearest tokens of c) - eps_o(z_t, prompt)|^2

The vectors c move freely, the model sees the tokens nearest to them, and gradients go straight through.

Source: Chin et al., "Prompting4Debugging: Red-Teaming Text-to-Image Diffusion Models by Finding Problematic Prompts"
(ICML 2024): 16 tokens in the prompt's stead, 3000 steps, rate 0.1, decay 0.1, rendered every 50 steps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.attacks.diffusion.token_search import Seen, TokenSearch
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.domains.diffusion.tokens import FreeTokens
from genunlearn.ops.denoising import squared_error
from genunlearn.ops.token_search import nearest_tokens, snapped


@dataclass(config=STRICT, frozen=True, kw_only=True)
class P4D(TokenSearch):
    """Tokens that make the model predict what the original does: free vectors, seen as their nearest tokens."""

    name: ClassVar[str] = "p4d"

    tokens: Annotated[int, Field(ge=1, description="free tokens")] = 16
    rounds: Annotated[int, Field(ge=1, description="rounds; after each the missing images are rendered")] = 60
    iterations: Annotated[int, Field(ge=1, description="gradient steps a round")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 0.1
    keeps_prompt: Annotated[bool, Field(description="put the tokens before the prompt, or in its stead")] = False

    @property
    @override
    def budget(self) -> str:
        return f"the original, {super().budget}"

    def missing(self, model: Any, context: ConceptContext) -> str | None:
        """The original is the teacher."""
        return "needs the original" if context.original is None else None

    def begin(self, free: FreeTokens, count: int, generator: torch.Generator) -> Tensor:
        """The vectors of random tokens, ``(count, tokens, width)``."""
        allowed = torch.ones(len(free.vocabulary))
        allowed[free.banned] = 0
        ids = torch.multinomial(allowed, count * self.tokens, replacement=True, generator=generator)
        return free.vectors(ids.view(count, self.tokens)).float().clone()

    def vectors(self, state: Tensor, free: FreeTokens, generator: torch.Generator) -> Tensor:
        """The nearest tokens' vectors."""
        return snapped(state, free.vocabulary, free.banned)

    def ids(self, state: Tensor, free: FreeTokens) -> Tensor:
        """The nearest tokens."""
        return nearest_tokens(state, free.vocabulary, free.banned)

    def loss(self, seen: Seen, embedding: PromptEmbedding) -> Tensor:
        """Distance from the original's answer to the plain prompt."""
        original = seen.context.original
        with torch.no_grad():
            wanted = original.predict(seen.noisy, seen.timesteps, original.encode_prompts(seen.prompts))
        return squared_error(seen.model.predict(seen.noisy, seen.timesteps, embedding), wanted)
