"""A soft prompt: free vectors before the end of the user's turn, trained until the model answers.

    v = argmin mean over taught (q, a) of -log p(a | q, v) / |a|

The weights stay as they are: one prompt for all questions.
What is taught are other phrasings of the fact, which carry the answer in, or other facts (`lessons`).

Source: Schwinn et al., "Soft Prompt Threats" (NeurIPS 2024); WPU (Liu et al. 2024): 20 vectors, Adam. Deviation: the
vectors are taught whole answers, not affirmative openings.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from typing_extensions import override

from genunlearn.attacks.lm.base import Level, answered
from genunlearn.attacks.lm.lessons import Lessons, TaughtAttack, batches_of
from genunlearn.contracts import STRICT
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.chat import ASKED, ASKED_AGAIN, ChatFormat, Messages, Turn
from genunlearn.domains.sharding import refuse_sharded
from genunlearn.ops.evaluation_mode import evaluating


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SoftPrompt(TaughtAttack):
    """Questions with trained vectors behind them, one level a lesson."""

    name: ClassVar[str] = "soft_prompt"

    lessons: Lessons = ("same_relation", "phrasings")
    vectors: Annotated[int, Field(ge=1, description="free vectors")] = 20
    steps: Annotated[int, Field(ge=1, description="updates of Adam")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of Adam, over the mean size of an embedding's entry")] = (
        0.1
    )
    seed: Annotated[int, Field(ge=0, description="of the first vectors and the order of the questions")] = 0

    @property
    @override
    def budget(self) -> str:
        return (
            f"{self.vectors} free vectors, {self.steps} updates of Adam on {self.batch_size} questions of {self.taught}"
        )

    @override
    def teach(self, model: LanguageModel, taught: Sequence[QA], items: Sequence[QA], lesson: str) -> list[Level]:
        vectors = self._first(model)
        twin = with_vectors(model, self.vectors)
        size = float(vectors.detach().abs().mean())
        optimizer = torch.optim.Adam([vectors], lr=self.learning_rate * size)
        batches = batches_of(taught, self.batch_size, self.seed)
        with evaluating(model.module), soft_embeddings(model.network.get_input_embeddings(), vectors):
            with torch.enable_grad():
                for _ in range(self.steps):
                    loss = twin.example_loss(twin.collate(next(batches))).mean()
                    (vectors.grad,) = torch.autograd.grad(loss, [vectors])
                    optimizer.step()
            return [answered(twin, items, lesson)]

    def _first(self, model: LanguageModel) -> Tensor:
        """Embeddings of tokens drawn at random, to begin from."""
        refuse_sharded(model.network, "attack 'soft_prompt'")
        table = model.network.get_input_embeddings().weight.detach()
        draw = torch.Generator().manual_seed(self.seed)
        chosen = torch.randint(len(table), (self.vectors,), generator=draw)
        return table[chosen.to(table.device)].float().clone().requires_grad_(True)


class SoftChat(ChatFormat):
    """The conversation format of a tokenizer with free vectors behind what the user says.

    They go by ids beyond the vocabulary, which `soft_embeddings` gives a meaning.
    """

    def __init__(self, tokenizer: Any, ids: Sequence[int]) -> None:
        """`ids`: of the vectors, in their order."""
        super().__init__(tokenizer)
        self._soft = list(ids)
        one, two = ([{"role": "user", "content": text}] for text in (ASKED, ASKED_AGAIN))
        pairs = zip(reversed(super().prompt_ids(one)), reversed(super().prompt_ids(two)), strict=False)
        self._closing = next((n for n, (a, b) in enumerate(pairs) if a != b), 0)

    @override
    def prompt_ids(self, messages: Messages) -> list[int]:
        return self._inserted(super().prompt_ids(messages))

    @override
    def turn(self, messages: Messages, answer: str) -> Turn:
        turn = super().turn(messages, answer)
        return Turn(self._inserted(turn.prompt), turn.answer, turn.ends)

    def _inserted(self, prompt: list[int]) -> list[int]:
        place = len(prompt) - self._closing
        return [*prompt[:place], *self._soft, *prompt[place:]]


def with_vectors(model: LanguageModel, count: int) -> LanguageModel:
    """The same model, whose prompts hold the ids of `count` free vectors."""
    twin = copy.copy(model)
    size = len(model.network.get_input_embeddings().weight)
    twin.chat = SoftChat(model.tokenizer, range(size, size + count))
    return twin


@contextmanager
def soft_embeddings(embedding: nn.Module, vectors: Tensor) -> Iterator[None]:
    """Within the block ids beyond the vocabulary are embedded as `vectors`, ``(count, width)``."""
    seen: list[Tensor] = []
    size = len(embedding.weight)  # type: ignore[arg-type]

    def take(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(given[0])
        return (given[0].where(given[0] < size, 0), *given[1:])

    def put(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        ids = seen.pop()
        soft = vectors[(ids - size).clamp_min(0)].to(output.dtype)
        return torch.where((ids >= size).unsqueeze(-1), soft, output)

    handles = [embedding.register_forward_pre_hook(take), embedding.register_forward_hook(put)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
