"""Tokens after several prompts, one step a token, for sequences that have not ended only.

A prompt is read once, however many answers are drawn for it, and a sequence that is over leaves the batch, with its
keys and values. The draws are those of ``torch.multinomial`` over the whole batch: a token is the largest of
``p_v / e_v`` with exponential ``e_v``, which are drawn for sequences that are over too. So a text depends on the others
of its batch no more than with a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genunlearn.domains.lm.cache import roomy_cache
from genunlearn.domains.lm.prefix import can_share
from genunlearn.ops.logprobs import last_positions

CROWDED = 7 / 8
"""Sequences that are over leave the batch once at most this share of it goes on: moving its cache costs time too."""

ROWS, TOKENS = 16, 64
"""What rows and tokens of fixed shapes are multiples of: calls that differ little share a compiled step."""

SETTLED = frozenset(
    {
        *("do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_return_sequences"),
        *("repetition_penalty", "no_repeat_ngram_size", "max_new_tokens", "max_length", "use_cache"),
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
        *("pad_token_id", "bos_token_id", "eos_token_id", "transformers_version", "_from_model_config"),
    }
)
"""What a model may be published with and `decode` decides itself, or does not need."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        samples: Sequences for each prompt.
        temperature: 0 takes the likeliest token.
        most: Tokens after which a sequence ends in any case.
        ends: Tokens that end a sequence.
        pad: Token that fills a sequence up which has ended.
    """

    samples: int
    temperature: float
    most: int
    ends: tuple[int, ...]
    pad: int


def decode(network: Any, packed: Mapping[str, Tensor], cache: Any, how: Decoding, stopping: Any) -> Tensor:
    """Continue prompts.

    Args:
        network: One whose cache is a key and a value a token in every layer, see `genunlearn.domains.lm.prefix`.
        packed: Left-padded ``input_ids`` and ``attention_mask``, ``(prompts, longest)``, on the network's device.
        cache: Keys and values of the first columns, for every prompt; None for none.
        how: How tokens are chosen.
        stopping: Called with all new tokens so far, ``(prompts * samples, new)``; says which sequences are over.

    Returns:
        ``(prompts * samples, new)``: the samples of a prompt one after another, `pad` after their ends.
    """
    mask, device = packed["attention_mask"], packed["input_ids"].device
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    cache = roomy_cache() if cache is None else cache
    begun = cache.get_seq_length()
    logits = _forward(network, packed["input_ids"][:, begun:], mask, positions[:, begun:], cache).logits
    mask, positions, logits = (
        each.repeat_interleave(how.samples, 0) for each in (mask, positions[:, -1:], logits[:, -1].float())
    )
    if how.samples > 1:
        cache.batch_repeat_interleave(how.samples)
    ends = torch.tensor(how.ends, dtype=torch.long, device=device)
    rows = torch.arange(len(mask), device=device)  # which sequence each row of the network's batch is
    is_open = torch.ones(len(mask), dtype=torch.bool, device=device)
    new = torch.full((len(mask), how.most), how.pad, device=device)
    for step in range(how.most):
        chosen = _choose(logits, how.temperature, rows, len(new))
        new[rows, step] = torch.where(is_open[rows], chosen, how.pad)
        is_open[rows] &= ~torch.isin(chosen, ends)
        is_open &= ~stopping(new[:, : step + 1], None)
        going = is_open[rows].nonzero()[:, 0]
        if not len(going) or step + 1 == how.most:
            return new[:, : step + 1]
        if len(going) <= CROWDED * len(rows):
            cache.batch_select_indices(going.cpu())  # layers may lie on several devices
            rows, mask, positions, chosen = rows[going], mask[going], positions[going], chosen[going]
        mask, positions = torch.cat([mask, mask.new_ones(len(mask), 1)], 1), positions + 1
        logits = _forward(network, chosen[:, None], mask, positions, cache).logits[:, -1].float()
    return new


def is_plain(network: Any) -> bool:
    """Whether `decode` writes what a network would: its cache is shared, and it is published with no rule of its own.

    Such as words that it may not say: what is not known here is left to `decode_by_library`.
    """
    return can_share(network) and not {*network.generation_config.to_diff_dict()} - SETTLED


@dataclass
class FixedShapes:
    """Shapes that every batch of a call has, so that its steps are compiled once (on CUDA; transformers does it).

    Attributes:
        rows: Prompts in each batch; what a batch lacks is filled up with its last one.
        tokens: Positions that the cache holds of each sequence from the start, prompt and answer.
    """

    rows: int
    tokens: int
    _cache: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, batches: Sequence[Sequence[int]], tokens: Callable[[int], int]) -> FixedShapes:
        """The shapes for `batches` of items, given the length of an item's sequences."""
        longest = max((tokens(item) for batch in batches for item in batch), default=0)
        rows = max(map(len, batches), default=0)
        return cls(rows + -rows % ROWS, longest + -longest % TOKENS)

    def fill(self, prompts: list[list[int]]) -> list[list[int]]:
        """The prompts of a batch, filled up."""
        return [*prompts, *[prompts[-1]] * (self.rows - len(prompts))]

    def cache(self, network: Any) -> Any:
        """An empty cache, at the same place in memory for every batch."""
        from transformers import StaticCache

        if self._cache is None:
            self._cache = StaticCache(config=network.config.get_text_config(decoder=True), max_cache_len=self.tokens)
        else:
            self._cache.reset()
        return self._cache


def decode_by_library(
    network: Any, packed: Mapping[str, Tensor], how: Decoding, stopping: Any, cache: Any = None
) -> Tensor:
    """As `decode`, by transformers' own loop: for networks with another cache, or rules that they are published with.

    `stopping` is called with prompts and new tokens; `cache` is an empty one, of `FixedShapes`, or None.
    """
    from transformers import GenerationConfig

    # Plain decoding: what is left unset would be filled in from the habits that a model is published with.
    sampled = {"temperature": how.temperature, "top_k": 0} if how.temperature else {}
    config = GenerationConfig(
        **{"do_sample": bool(how.temperature), "temperature": 1.0, "top_k": 50, "top_p": 1.0, **sampled},
        typical_p=1.0,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        num_return_sequences=how.samples,
        max_new_tokens=how.most,
        pad_token_id=how.pad,
        eos_token_id=[*how.ends] or None,
    )
    given = {} if cache is None else {"past_key_values": cache}
    output = network.generate(**packed, **given, generation_config=config, stopping_criteria=stopping)
    return output[:, packed["input_ids"].shape[1] :]


def _forward(network: Any, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Any:
    return network(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last_positions(1, ids.device),
    )


def _choose(logits: Tensor, temperature: float, rows: Tensor, count: int) -> Tensor:
    """The next token of each row, ``(rows,)``; `count` sequences, over or not, have a draw."""
    if not temperature:
        return logits.argmax(-1)
    shares = (logits / temperature).softmax(-1)
    return (shares / _waits(rows, count, logits.shape[-1])).argmax(-1)


def _waits(rows: Tensor, count: int, width: int) -> Tensor:
    """Those of ``(count, width)`` exponential draws that belong to `rows`."""
    if rows.device.type != "cpu":
        return torch.empty(count, width, device=rows.device).exponential_()[rows]
    # What `exponential_` makes of the same random numbers, but it works out every logarithm, and one after the other.
    return torch.rand(count, width, dtype=torch.float64)[rows].neg_().log1p_().neg_().float()
