"""What attacks that search for tokens by gradients share: the loop, and what counts as found.

For every image of the context some tokens before its prompt are searched for, all images in one batch. Now and then the
best tokens so far are rendered; an image that shows the concept is found, and its search ends.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass as record
from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.domains.diffusion.tokens import PLACE, FreeTokens


@record
class Best:
    """The strongest image so far of each seed.

    Attributes:
        scores: ``(n,)``, below 0 before anything is rendered.
        shown: ``(n,)`` bool.
        images: ``(n, 3, height, width)``; None before anything is rendered.
        tokens: What was put before each prompt.
        found_after: Rounds until each was found; None where it was not.
    """

    scores: Tensor
    shown: Tensor
    images: Tensor | None = None
    tokens: list[str] = field(default_factory=list)
    found_after: list[int | None] = field(default_factory=list)

    @classmethod
    def none(cls, count: int) -> Best:
        """Nothing found yet."""
        return cls(torch.full((count,), -1.0), torch.zeros(count, dtype=torch.bool), None, [""] * count, [None] * count)

    @property
    def missing(self) -> list[int]:
        """Images that do not show the concept yet."""
        return (~self.shown).nonzero().flatten().tolist()

    def update(self, rows: list[int], drawn: Drawn, tokens: list[str], done: int) -> None:
        """Take what is stronger than before."""
        if self.images is None:
            self.images = torch.zeros(len(self.scores), *drawn.images.shape[1:])
        for place, row in enumerate(rows):
            if drawn.shown[place]:
                self.found_after[row] = done
            if drawn.shown[place] or drawn.scores[place] > self.scores[row]:
                self.scores[row], self.images[row] = drawn.scores[place], drawn.images[place].cpu()
                self.shown[row], self.tokens[row] = drawn.shown[place], tokens[place]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TokenSearch(DrawnAttack):
    """A search for tokens, image by image."""

    learns: ClassVar[bool] = True

    tokens: Annotated[int, Field(ge=1, description="free tokens")] = 5
    rounds: Annotated[int, Field(ge=1, description="rounds; after each the missing images are rendered")] = 50
    iterations: Annotated[int, Field(ge=1, description="gradient steps a round")] = 40
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 0.01
    weight_decay: Annotated[float, Field(ge=0, description="of AdamW")] = 0.1
    keeps_prompt: Annotated[bool, Field(description="put the tokens before the prompt, or in its stead")] = True
    seed: Annotated[int, Field(ge=0, description="of the starting tokens and of noise")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"gradients, one concept image a seed, {self.tokens} tokens, {self.rounds} x {self.iterations} steps"

    @abc.abstractmethod
    def begin(self, free: FreeTokens, count: int, generator: torch.Generator) -> Tensor:
        """What is searched over, first dimension `count`."""

    @abc.abstractmethod
    def vectors(self, state: Tensor, free: FreeTokens, generator: torch.Generator) -> Tensor:
        """Token vectors ``(n, tokens, width)`` of a state, with gradients."""

    @abc.abstractmethod
    def ids(self, state: Tensor, free: FreeTokens) -> Tensor:
        """The tokens that a state stands for, ``(n, tokens)``."""

    @abc.abstractmethod
    def loss(self, seen: Seen, embedding: PromptEmbedding) -> Tensor:
        """The loss of each image, ``(n,)``."""

    def settle(self, state: Tensor) -> None:
        """Bring a state back to where it is allowed to be, in place, after a step."""

    def timesteps(self, model: Any, done: int, count: int, generator: torch.Generator) -> Tensor:
        """At which timesteps images are noised in round `done`, ``(count,)``; by default at random."""
        known = model.schedule.timesteps
        return known[torch.randint(len(known), (count,), generator=generator)]

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """Search until every image is found or the rounds are over."""
        pictures, prompts = context.concept_images(len(context.seeds))
        clean = model.encode_images(pictures).to(model.device)
        asked = [f"{PLACE} {prompt}" if self.keeps_prompt else PLACE for prompt in context.prompts]
        free = FreeTokens(model, asked, self.tokens)
        generator = torch.Generator().manual_seed(self.seed)
        state = self.begin(free, len(asked), generator).to(model.device).requires_grad_(True)
        optimizer = torch.optim.AdamW([state], lr=self.learning_rate, weight_decay=self.weight_decay)
        best = Best.none(len(asked))
        for done in range(self.rounds):
            rows = best.missing
            if not rows:
                break
            some = free.of(rows)
            for _ in range(self.iterations):
                timesteps = self.timesteps(model, done, len(rows), generator).to(model.device)
                noise = torch.randn(clean[rows].shape, generator=generator).to(clean)
                noisy = model.schedule.add_noise(clean[rows], noise, timesteps)
                target = model.schedule.target(clean[rows], noise, timesteps)
                seen = Seen(model, context, noisy, timesteps, target, [prompts[row] for row in rows])
                with torch.enable_grad():
                    loss = self.loss(seen, some.embed(self.vectors(state[rows], free, generator))).sum()
                (state.grad,) = torch.autograd.grad(loss, [state])
                optimizer.step()
                with torch.no_grad():
                    self.settle(state)
            self._render(model, context, some, rows, self.ids(state.detach()[rows], free), best, done)
        assert best.images is not None  # the first round renders every image
        used = [one.replace(PLACE, found) for one, found in zip(asked, best.tokens, strict=True)]
        details = {"tokens": best.tokens, "prompts": used, "rounds_until_found": best.found_after}
        return Drawn(best.images, best.scores, best.shown, details)

    @torch.no_grad()
    def _render(
        self, model: Any, context: ConceptContext, free: FreeTokens, rows: list[int], ids: Tensor, best: Best, done: int
    ) -> None:
        names = model.prompts.name(free.embed(free.vectors(ids)))
        images = model.images(names, [context.seeds[row] for row in rows], context.sampling)
        best.update(rows, Drawn.judged(images, context.detector), free.read(ids), done + 1)


@record(frozen=True)
class Seen:
    """What a loss is computed on: noised images of the concept.

    Attributes:
        model: Under attack.
        context: The context.
        noisy: ``(n, channels, height, width)``.
        timesteps: ``(n,)``.
        target: What a network should output that knows the image, shaped like `noisy`.
        prompts: The images' plain prompts.
    """

    model: Any
    context: ConceptContext
    noisy: Tensor
    timesteps: Tensor
    target: Tensor
    prompts: list[str]
