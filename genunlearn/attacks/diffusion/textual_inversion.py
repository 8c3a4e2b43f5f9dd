"""Textual inversion on the unlearned model: a new word for what the old word no longer names.

    v = argmin E_(x, t, noise) |eps_u(x_t, prompt with v) - noise|^2        x images that show the concept

The model's weights stay as they are; v is a vector among the text encoder's token embeddings, put in the concept's
place in every prompt.

Source: Pham et al., "Circumventing Concept Erasure Methods For Text-to-Image Generative Models" (ICLR 2024), which
takes 5000 steps at 5e-3 (scaled by batch and processes) with batches of 4 and 25 images.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.tokens import PLACE, FreeTokens
from genunlearn.ops.denoising import squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TextualInversion(DrawnAttack):
    """A new token, learnt on the unlearned model for what the old word no longer names (CCE)."""

    name: ClassVar[str] = "textual_inversion"
    learns: ClassVar[bool] = True

    tokens: Annotated[int, Field(ge=1, description="free tokens in the concept's place")] = 1
    images: Annotated[int, Field(ge=1, description="images that show the concept, to learn from")] = 24
    steps: Annotated[int, Field(ge=0, description="steps of AdamW; 0 leaves the starting token")] = 200
    batch_size: Annotated[int, Field(ge=1, description="images a step")] = 8
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 2e-2
    start: Annotated[str | None, Field(description="a word to begin with; null = the mean of the vocabulary")] = None
    seed: Annotated[int, Field(ge=0, description="of noise and order")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"gradients, {self.images} images of the concept, {self.steps} steps for {self.tokens} token(s)"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """Learn the token on prompts of the context, then draw every prompt with it."""
        vectors, losses = self._learn(model, context)
        free = FreeTokens(model, [placed(prompt, context.name) for prompt in context.prompts], self.tokens)
        with torch.no_grad():
            embedding = free.embed(vectors.expand(len(context.prompts), -1, -1))
        images = model.images(model.prompts.name(embedding), list(context.seeds), context.sampling)
        ends = {"first_loss": losses[0], "last_loss": losses[-1]} if losses else {}
        return Drawn.judged(images, context.detector, **ends)

    def _learn(self, model: Any, context: ConceptContext) -> tuple[torch.Tensor, list[float]]:
        pictures, prompts = context.concept_images(self.images)
        latents = model.encode_images(pictures).to(model.device)
        free = FreeTokens(model, [placed(prompt, context.name) for prompt in prompts], self.tokens)
        vectors = self._starting(free).requires_grad_(True)
        optimizer = torch.optim.AdamW([vectors], lr=self.learning_rate)
        losses: list[float] = []
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.seed)
            for step in range(self.steps):
                rows = torch.randperm(len(latents))[: self.batch_size].tolist()
                noised = model.noised(latents[rows], [f"{step}/{row}" for row in rows])
                embedding = free.of(rows).embed(vectors.expand(len(rows), -1, -1))
                output = model.predict(noised.latents, noised.timesteps, embedding)
                loss = squared_error(output, noised.target).mean()
                (vectors.grad,) = torch.autograd.grad(loss, [vectors])
                optimizer.step()
                losses.append(float(loss.detach()))
        return vectors.detach(), losses

    def _starting(self, free: FreeTokens) -> torch.Tensor:
        if self.start is None:
            return free.vocabulary.float().mean(0).repeat(self.tokens, 1)[None]
        ids = free.section.ids(self.start)
        return free.vectors(torch.tensor([ids[i % len(ids)] for i in range(self.tokens)])).float().clone()[None]


def placed(prompt: str, name: str) -> str:
    """A prompt with a place in the stead of the concept's name, or before everything where it is named otherwise."""
    before, found, after = prompt.rpartition(name)
    return f"{before}{PLACE}{after}" if found else f"{PLACE} {prompt}"
