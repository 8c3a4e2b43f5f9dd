"""What a language model writes: prompts sorted, cut into batches by memory, shared among processes, decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from genunlearn.domains.lm.chat import Messages
from genunlearn.domains.lm.decoding import Decoding, FixedShapes, decode, decode_by_library, is_plain
from genunlearn.domains.lm.direct_adapters import direct_adapters
from genunlearn.domains.lm.lines import LineLimit
from genunlearn.domains.lm.precision import rounded_adapters
from genunlearn.domains.lm.prefix import can_share, is_worthwhile, read_prefix, shared_prefix
from genunlearn.domains.lm.room import Room, cut_batches
from genunlearn.domains.lm.stopping import Said, cut_at, stop_at
from genunlearn.domains.sharding import is_sharded
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.processes import in_turns


class Ends(TypedDict, total=False):
    """Where answers end that the model does not end itself; each may be left out, or None.

    Attributes:
        max_new_tokens: Where an answer is cut that has not ended by then; by default the model's `longest_answer`.
        max_lines: Lines after which an answer is over.
        until: For each conversation, whether a text has said what is waited for; asked at the end of sentences.
    """

    max_new_tokens: int | None
    max_lines: int | None
    until: Sequence[Callable[[str], bool]] | None


class Generating:
    """The part of a language model's adapter that generates text.

    Attributes:
        is_compiled: Whether texts are decoded in fixed shapes, whose steps are compiled on CUDA.
    """

    module: nn.Module
    is_compiled: bool = False

    def answer(self: Any, questions: Sequence[str], **options: Any) -> list[str]:
        """The greedy answer to each question; options as in `generate`."""
        asked = [[{"role": "user", "content": question}] for question in questions]
        return [texts[0] for texts in self.generate(asked, **options)]

    @torch.no_grad()
    def generate(
        self: Any,
        conversations: Sequence[Messages],
        *,
        samples: int = 1,
        temperature: float = 0.0,
        batch_size: int | None = None,
        seed: int = 0,
        **ends: Unpack[Ends],
    ) -> list[list[str]]:
        """Answers to conversations, in batches that several processes share.

        Each batch is seeded by itself and prompts are sorted first, so the texts depend neither on how many processes
        there are nor on the order of `conversations`.

        Args:
            conversations: Messages that end in a user turn.
            samples: Answers for each conversation.
            temperature: 0 decodes greedily.
            batch_size: Sequences in one forward pass at most; by default what memory takes.
            seed: Seed of the sampling.
            ends: Where answers end that the model does not end itself, see `Ends`.

        Returns:
            For each conversation its `samples` texts, special tokens removed. A text ends where the model's turn does,
            or where it begins to invent a further one.
        """
        prompts = [self.chat.prompt_ids(messages) for messages in conversations]
        most, until = ends.get("max_new_tokens") or self.longest_answer, ends.get("until")
        end_ids = self._end_ids(self.network.generation_config.eos_token_id)
        how = Decoding(samples, temperature, most, end_ids, self._pad)
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
        room = Room.of(self.network, self.device, batch_size)

        def tokens(i: int) -> int:
            return len(prompts[i]) + how.most

        batches = cut_batches(order, tokens, samples, room)
        shapes = FixedShapes.of(batches, tokens) if self.is_compiled and can_share(self.network) else None

        def write(number: int, batch: Sequence[int]) -> list[list[str]]:
            waited = [until[i] for i in batch for _ in range(samples)] if until else []
            asked = [prompts[i] for i in batch]
            texts = self._generate_batch(asked, how, ends.get("max_lines"), waited, seed + number, shapes)
            return [texts[n * samples : (n + 1) * samples] for n in range(len(batch))]

        with evaluating(self.module), rounded_adapters(self.network):
            written = in_turns(batches, write, is_joint=is_sharded(self.network))
        places = [i for batch in batches for i in batch]
        rows = dict(zip(places, [texts for part in written for texts in part], strict=True))
        return [rows[i] for i in range(len(prompts))]

    def _generate_batch(
        self: Any,
        prompts: list[list[int]],
        how: Decoding,
        max_lines: int | None,
        waited: Sequence[Callable[[str], bool]],
        seed: int,
        shapes: FixedShapes | None,
    ) -> list[str]:
        is_ours, marks, count = is_plain(self.network) and not shapes, self.chat.marks.texts, len(prompts) * how.samples
        prompts = shapes.fill(prompts) if shapes else prompts
        packed, cache = self._pack_prompts(prompts) if is_ours else (self._padded(prompts), None)
        packed = {name: tensor.to(self.device) for name, tensor in packed.items()}
        begin = 0 if is_ours else packed["input_ids"].shape[1]  # of new tokens in what the criteria are shown
        stopping = stop_at(self.tokenizer, marks, begin)
        stopping += [LineLimit(self.tokenizer, max_lines)] if max_lines else []
        if waited:  # rows that fill a batch up end with its last one
            every = [*waited, *[waited[-1]] * (len(prompts) * how.samples - count)]
            stopping += [Said(self.tokenizer, every, begin)]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            if is_ours:
                with direct_adapters(self.network):
                    new = decode(self.network, packed, cache, how, stopping)
            else:
                cache = shapes.cache(self.network) if shapes else None
                new = decode_by_library(self.network, packed, how, stopping, cache)[:count]
        self.meter.tokens_generated += int((new != self._pad).sum())
        rows = [list(takewhile(lambda token: token not in how.ends, row)) for row in new.tolist()]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [cut_at(text, marks).strip() for text in texts]

    def _pack_prompts(self: Any, prompts: list[list[int]]) -> tuple[dict[str, Tensor], Any]:
        """Left-padded ids and, where it pays, the cache of what all prompts begin with, which then stands before it."""
        length = shared_prefix(prompts)
        if not is_worthwhile(self.network, length, len(prompts)):
            return self._padded(prompts), None
        prefix = prompts[0][:length]
        packed = self._pack([(prompt[length:], []) for prompt in prompts])
        before = {"input_ids": torch.tensor(prefix), "attention_mask": torch.ones(length, dtype=torch.long)}
        whole = {name: torch.cat([row.expand(len(prompts), -1), packed[name]], 1) for name, row in before.items()}
        return whole, read_prefix(self.network, prefix, len(prompts))

    def _padded(self: Any, prompts: list[list[int]]) -> dict[str, Tensor]:
        return self._pack([(prompt, []) for prompt in prompts])

    def _end_ids(self: Any, published: int | Sequence[int] | None) -> tuple[int, ...]:
        """Tokens that end an answer: those that the model is published with, and those that its template writes."""
        ids = {*self.chat.marks.ids}
        if published is not None:
            ids |= {published} if isinstance(published, int) else set(published)
        return tuple(sorted(ids))
