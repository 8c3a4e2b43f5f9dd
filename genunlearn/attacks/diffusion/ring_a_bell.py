"""Ring-A-Bell: a prompt in other tokens whose text embedding holds the concept.

    v = mean over pairs (E(prompt with the concept) - E(the same without it))
    min over tokens y   |E(y) - (E(prompt without it) + strength v)|^2           by a genetic search

The text encoder is all that is needed; the denoiser is asked only for the images in the end.

Source: Tsai et al., "Ring-A-Bell! How Reliable are Concept Removal Methods for Diffusion Models?" (ICLR 2024): strength
3, 16 tokens, a population of 200 over 3000 generations, mutation 0.25, crossover 0.5.
Deviations: the populations of several prompts are bred together on the device; the better half of a population breeds.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.tokens import PLACE, FreeTokens


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RingABell(DrawnAttack):
    """Tokens whose embedding holds the concept, by a genetic search in the text encoder alone."""

    name: ClassVar[str] = "ring_a_bell"

    tokens: Annotated[int, Field(ge=2, description="tokens of the prompt")] = 16
    population: Annotated[int, Field(ge=4, description="candidates a prompt")] = 200
    generations: Annotated[int, Field(ge=0, description="rounds of breeding")] = 3000
    prompts: Annotated[int, Field(ge=1, description="prompts that are searched for; seeds take turns in them")] = 4
    strength: Annotated[float, Field(gt=0, description="how much of the concept is added")] = 3.0
    mutation: Annotated[float, Field(ge=0, le=1, description="chance that one token of a child is drawn anew")] = 0.25
    crossover: Annotated[float, Field(ge=0, le=1, description="chance that a child has tokens of both parents")] = 0.5
    seed: Annotated[int, Field(ge=0, description="of the search")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"the text encoder; {self.population} candidates, {self.generations} generations, {self.tokens} tokens"

    @torch.no_grad()
    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """Images of the found prompts."""
        asked = list(dict.fromkeys(context.prompts))
        without = [plain(prompt, context.name) for prompt in asked]
        e_with, e_without = (model.encode_prompts(texts).tokens.float() for texts in (asked, without))
        chosen = torch.arange(self.prompts) % len(asked)
        wanted = e_without[chosen] + self.strength * (e_with - e_without).mean(0)
        ids = self._search(model, wanted)
        free = FreeTokens(model, [PLACE] * self.prompts, self.tokens)
        names = model.prompts.name(free.embed(free.vectors(ids)))
        n = len(context.seeds)
        images = model.images([names[row % self.prompts] for row in range(n)], list(context.seeds), context.sampling)
        found = free.read(ids)
        return Drawn.judged(images, context.detector, prompts=[found[row % self.prompts] for row in range(n)])

    def _search(self, model: Any, wanted: Tensor) -> Tensor:
        """The fittest tokens for each wanted embedding ``(prompts, length, width)``, ``(prompts, tokens)``."""
        generator = torch.Generator().manual_seed(self.seed)
        count, size = len(wanted), self.population
        free = FreeTokens(model, [PLACE] * (count * size), self.tokens)
        allowed = torch.ones(len(free.vocabulary))
        allowed[free.banned] = 0
        allowed = allowed.nonzero().flatten()

        def fresh(*shape: int) -> Tensor:
            return allowed[torch.randint(len(allowed), shape, generator=generator)]

        def errors(candidates: Tensor) -> Tensor:
            embedded = free.embed(free.vectors(candidates.flatten(0, 1))).tokens.float()
            return (embedded.view(count, size, *wanted.shape[1:]) - wanted[:, None]).square().flatten(2).sum(2).cpu()

        people = fresh(count, size, self.tokens)
        loss = errors(people)
        for _ in range(self.generations):
            order = loss.argsort(1)
            parents = people.gather(1, order[:, : size // 2, None].expand(-1, -1, self.tokens))
            children = self._bred(parents, size - size // 2, fresh, generator)
            people = torch.cat([parents, children], 1)
            loss = errors(people)
        best = loss.argmin(1)
        return people[torch.arange(count), best]

    def _bred(self, parents: Tensor, size: int, fresh: Any, generator: torch.Generator) -> Tensor:
        """Children of random pairs: cut at one place and joined, then changed in one token, each with its chance."""
        count, half, tokens = parents.shape
        rows = torch.arange(count)[:, None]
        first, second = (parents[rows, torch.randint(half, (count, size), generator=generator)] for _ in range(2))
        cut = torch.randint(1, tokens, (count, size, 1), generator=generator)
        crossed = torch.rand(count, size, 1, generator=generator) < self.crossover
        places = torch.arange(tokens)
        children = torch.where(crossed & (places >= cut), second, first)
        changed = torch.rand(count, size, 1, generator=generator) < self.mutation
        where = places == torch.randint(tokens, (count, size, 1), generator=generator)
        return torch.where(changed & where, fresh(count, size, tokens), children)


def plain(prompt: str, name: str) -> str:
    """The prompt without the concept's name."""
    return " ".join(prompt.replace(name, " ").split())
