"""Questions and answers of a batch in one row, without padding: every layer works on tokens that are there.

Attention alone is computed on padded rows. Padding on the right needs no mask beside the causal one, so that the fast
kernels take it. The output layer is asked for the answers only, and never holds their logits all at once
(`genunlearn.ops.vocabulary`).

Whether a network can be read this way is tried out once (`is_packable`), on two short texts: not every family asks its
attention of transformers' table, keeps nothing between tokens beside keys and values, or puts out plain linear logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from genunlearn.domains.lm.precision import adapters_as_base
from genunlearn.domains.lm.prefix import can_share
from genunlearn.domains.pretrained import input_device
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.vocabulary import token_scores

Pair = tuple[list[int], list[int]]
"""Ids of a prompt, at least one, and of its answer."""

ATTENTION = "genunlearn_packed"
"""Name of `attend` in transformers' table."""

TRIED: tuple[Pair, ...] = (([5, 3, 7], [4, 6]), ([8, 2, 9, 4, 3], [7, 5, 2, 6]))
"""What `is_packable` reads; ids are taken modulo the vocabulary."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
"""By how much log-probabilities may differ from those of single texts; `COARSE` in shorter types."""
COARSE = 0.1


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a packed row belong.

    Attributes:
        input_ids: ``(1, tokens)``.
        positions: ``(1, tokens)``, counted from 0 in each text.
        slots: ``(tokens,)``, place of each token among ``rows * width`` padded ones.
        rows: Number of texts.
        width: Tokens of the longest.
        predicting: ``(answer tokens,)``, from which token of the row each answer token is predicted.
        targets: ``(answer tokens,)``.
    """

    input_ids: Tensor
    positions: Tensor
    slots: Tensor
    rows: int
    width: int
    predicting: Tensor
    targets: Tensor


def pack(pairs: Sequence[Pair], device: torch.device) -> Packing:
    """One row of all `pairs`; sizes are known without asking the device."""
    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    starts = [0, *accumulate(lengths)]
    width = max(lengths)
    begun = [(start, len(prompt), len(answer)) for start, (prompt, answer) in zip(starts, pairs, strict=False)]
    predicting = [range(start + asked - 1, start + asked + told - 1) for start, asked, told in begun]
    numbers = (
        chain.from_iterable(prompt + answer for prompt, answer in pairs),
        chain.from_iterable(map(range, lengths)),
        chain.from_iterable(range(row * width, row * width + length) for row, length in enumerate(lengths)),
        chain.from_iterable(predicting),
        chain.from_iterable(answer for _, answer in pairs),
    )
    tokens, answers = starts[-1], sum(len(answer) for _, answer in pairs)
    whole = torch.tensor([*chain.from_iterable(numbers)])  # one copy to the device
    if device.type == "cuda":
        whole = whole.pin_memory()
    ids, positions, slots, places, targets = whole.to(device, non_blocking=True).split([tokens] * 3 + [answers] * 2)
    return Packing(ids[None], positions[None], slots, len(pairs), width, places, targets)


def answer_rows(values: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Values of answer tokens as rows that end in the same column, 0 before them, ``(pairs, longest answer)``."""
    lengths = [len(answer) for _, answer in pairs]
    longest = max(lengths)
    ends = range(longest, longest * len(lengths) + 1, longest)
    places = [*chain.from_iterable(range(end - length, end) for end, length in zip(ends, lengths, strict=True))]
    index = torch.tensor(places, dtype=torch.long)
    empty = values.new_zeros(longest * len(lengths))
    return empty.index_copy(0, index.to(values.device, non_blocking=True), values).view(len(lengths), longest)


def answer_scores(
    module: nn.Module, network: Any, pairs: Sequence[Pair], *, wants_best: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of every answer token, one after another, and whether it is the likeliest.

    Args:
        module: What is called: the network, perhaps wrapped for several processes.
        network: The network, for which `is_packable` holds.
        pairs: Prompts and answers.
        wants_best: Ask for the second answer too.

    Returns:
        ``(answer tokens,)`` in float32, and ``(answer tokens,)`` bool or None.
    """
    packing = pack(pairs, input_device(network))
    best: list[Tensor | None] = []

    def scored(hidden: Tensor) -> Tensor:
        head = network.get_output_embeddings()
        logprobs, is_best = token_scores(hidden[0], head.weight, head.bias, packing.targets, wants_best=wants_best)
        best.append(is_best)
        return logprobs[None, :, None].clone()  # sharded networks want no view

    with _attending(network), _output_layer(network, scored), adapters_as_base(network):
        output = module(
            input_ids=packing.input_ids,
            position_ids=packing.positions,
            use_cache=False,
            logits_to_keep=packing.predicting,
            packing=packing,
        )
    return output.logits[0, :, 0], best[0]


@torch.no_grad()
def is_packable(module: nn.Module, network: Any) -> bool:
    """Whether `answer_scores` gives what the network says of single texts; tried out on two of them."""
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    supports = getattr(network, "_supports_attention_backend", False)
    if type(head) is not nn.Linear or not supports or not hasattr(network, "config") or not can_share(network):
        return False
    vocab = head.out_features
    pairs = [([i % vocab for i in prompt], [i % vocab for i in answer]) for prompt, answer in TRIED]
    device, expected = input_device(network), []
    with evaluating(network):
        for prompt, answer in pairs:
            logits = module(input_ids=torch.tensor([prompt + answer], device=device), use_cache=False).logits
            told = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            expected.append(told.gather(-1, torch.tensor(answer, device=device)[:, None])[:, 0])
        try:
            found, _ = answer_scores(module, network, pairs)
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError):  # whatever a family makes of a packed row
            return False
    near = TOLERANCE.get(head.weight.dtype, COARSE)
    return torch.allclose(found, torch.cat(expected), rtol=near, atol=near, equal_nan=True)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each text of a packed row to itself, as transformers asks for it.

    Args:
        module: The attention layer.
        query: ``(1, heads, tokens, width)``.
        key: The same, perhaps of fewer heads.
        value: As `key`.
        attention_mask: Not looked at.
        packing: Which tokens belong together.
        options: ``dropout`` of attention weights, ``scaling`` of the products, and what else a family asks for.

    Returns:
        ``(1, tokens, heads, width)``.

    Raises:
        ValueError: A family asks for something else than plain attention.
    """
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "sliding_window", "position_bias")):
        raise ValueError("packed rows have plain attention only")
    query, key, value = (_unpacked(states, packing) for states in (query, key, value))
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        dropout_p=options.get("dropout", 0.0),
        scale=options.get("scaling"),
        is_causal=True,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    _differentiate_strictly(output)
    return output.transpose(1, 2).flatten(0, 1).index_select(0, packing.slots)[None], None


def _differentiate_strictly(output: Tensor) -> None:
    """Let the gradient of attention be computed deterministically where that is asked for.

    Asked with ``warn_only``, torch takes the other algorithm though it has one: the deterministic one is taken where
    the lack of one would be an error.
    """
    node = output.grad_fn
    if node is None or not torch.is_deterministic_algorithms_warn_only_enabled():
        return
    node.register_prehook(lambda _: torch.use_deterministic_algorithms(True, warn_only=False))
    node.register_hook(lambda *_: torch.use_deterministic_algorithms(True, warn_only=True))


def _unpacked(states: Tensor, packing: Packing) -> Tensor:
    """``(1, heads, tokens, width)`` as ``(rows, heads, width of a row, width)``, zeros on the right."""
    rows = states[0].transpose(0, 1)
    padded = rows.new_zeros(packing.rows * packing.width, *rows.shape[1:]).index_copy(0, packing.slots, rows)
    return padded.unflatten(0, (packing.rows, packing.width)).transpose(1, 2)


@contextmanager
def _attending(network: Any) -> Iterator[None]:
    """Within the block, the network's attention is `attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    config = network.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def _output_layer(network: Any, instead: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block, the output layer puts out ``instead(hidden)``; what goes on around the layer stays."""
    head = network.get_output_embeddings()
    own = vars(head).get("forward")
    head.forward = instead
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own
