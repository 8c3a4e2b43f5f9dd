"""Questions and answers of a batch in one row, without padding: every layer works on tokens that are there.

Attention alone is computed on padded rows. Padding on the right needs no mask beside the causal one, so that the fast
kernels take it. What texts begin with stands in the row once, where that pays. The output layer is asked for the
answers only, and never holds their logits all at once (`genunlearn.ops.vocabulary`).

Whether a network can be read this way is tried out once (`is_packable`), on short texts: not every family asks its
attention of transformers' table, keeps nothing between tokens beside keys and values, or puts out plain linear logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.domains.lm.beginnings import Pair, Sharing, find_sharing
from genunlearn.domains.lm.packed_attention import Beginnings, Layout, attending
from genunlearn.domains.lm.precision import adapters_as_base
from genunlearn.domains.lm.prefix import can_share
from genunlearn.domains.pretrained import input_device
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.vocabulary import token_scores

TRIED: tuple[Pair, ...] = (([5, 3, 7], [4, 6]), ([8, 2, 9, 4, 3], [7, 5, 2, 6]), ([5, 3, 7], [6]))
"""What `is_packable` reads, apart and with what two begin with shared; ids are taken modulo the vocabulary."""
SHARED = Sharing(owners=[0, 1, 0], lengths=[2, 0], first=[0, 1])

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
"""By how much log-probabilities may differ from those of single texts; `COARSE` in shorter types."""
COARSE = 0.1


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a packed row belong.

    Attributes:
        input_ids: ``(1, tokens)``: what texts begin with, once each, and then what each text goes on with.
        positions: ``(1, tokens)``, counted from 0 in each text.
        texts: Where the tokens behind the beginnings lie among padded ones, a row a text.
        predicting: ``(answer tokens,)``, from which token of the row each answer token is predicted.
        targets: ``(answer tokens,)``.
        beginnings: Those of the texts; None where nothing is shared.
        visible: What each text's tokens may attend to, see `Beginnings.visible`; None without beginnings.
    """

    input_ids: Tensor
    positions: Tensor
    texts: Layout
    predicting: Tensor
    targets: Tensor
    beginnings: Beginnings | None = None
    visible: Tensor | None = None


def pack(pairs: Sequence[Pair], device: torch.device, sharing: Sharing | None = None) -> Packing:
    """One row of all `pairs`; sizes are known without asking the device."""
    shared = sharing or Sharing([0] * len(pairs), [0], [0])
    whole = [prompt + answer for prompt, answer in pairs]
    begun = [shared.lengths[owner] for owner in shared.owners]
    heads = [whole[text][:length] for text, length in zip(shared.first, shared.lengths, strict=True)]
    rests = [text[length:] for text, length in zip(whole, begun, strict=True)]
    head_starts = [*accumulate(shared.lengths, initial=0)]
    starts = [*accumulate(map(len, rests), initial=head_starts[-1])]
    width, head_width = max(map(len, rests)), max(shared.lengths)

    def places() -> Iterator[int]:
        for number, (prompt, answer) in enumerate(pairs):
            head, length = head_starts[shared.owners[number]], begun[number]
            for place in range(len(prompt) - 1, len(prompt) + len(answer) - 1):
                yield head + place if place < length else starts[number] + place - length

    numbers = {
        "ids": [*chain.from_iterable(heads), *chain.from_iterable(rests)],
        "positions": [*chain.from_iterable(map(range, shared.lengths))]
        + [at for text, length in zip(whole, begun, strict=True) for at in range(length, len(text))],
        "slots": _slots(rests, width),
        "head slots": _slots(heads, head_width),
        "predicting": [*places()],
        "targets": [*chain.from_iterable(answer for _, answer in pairs)],
        "owners": shared.owners,
        "begun": begun,
    }
    row = torch.tensor([*chain.from_iterable(numbers.values())])  # one copy to the device
    if device.type == "cuda":
        row = row.pin_memory()
    parts = row.to(device, non_blocking=True).split([*map(len, numbers.values())])
    part = dict(zip(numbers, parts, strict=True))
    packing = Packing(
        part["ids"][None],
        part["positions"][None],
        Layout(part["slots"], len(pairs), width),
        part["predicting"],
        part["targets"],
    )
    if sharing is None:
        return packing
    layout = Layout(part["head slots"], len(heads), head_width)
    beginnings = Beginnings(layout, part["owners"], part["begun"])
    return replace(packing, beginnings=beginnings, visible=beginnings.visible(width))


def _slots(parts: Sequence[Sequence[int]], width: int) -> list[int]:
    """Places of all tokens of some parts among padded rows."""
    return [row * width + place for row, part in enumerate(parts) for place in range(len(part))]


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
    return _scores(module, network, pairs, find_sharing(pairs, network), wants_best=wants_best)


def _scores(
    module: nn.Module, network: Any, pairs: Sequence[Pair], sharing: Sharing | None, *, wants_best: bool = False
) -> tuple[Tensor, Tensor | None]:
    packing = pack(pairs, input_device(network), sharing)
    best: list[Tensor | None] = []

    def scored(hidden: Tensor) -> Tensor:
        head = network.get_output_embeddings()
        logprobs, is_best = token_scores(hidden[0], head.weight, head.bias, packing.targets, wants_best=wants_best)
        best.append(is_best)
        return logprobs[None, :, None].clone()  # sharded networks want no view

    with attending(network), _output_layer(network, scored), adapters_as_base(network):
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
    """Whether `answer_scores` gives what the network says of single texts; tried out on a few of them."""
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    supports = getattr(network, "_supports_attention_backend", False)
    if type(head) is not nn.Linear or not supports or not hasattr(network, "config") or not can_share(network):
        return False
    vocab = head.out_features
    pairs = [([i % vocab for i in prompt], [i % vocab for i in answer]) for prompt, answer in TRIED]
    device, expected, found = input_device(network), [], []
    with evaluating(network):
        for prompt, answer in pairs:
            logits = module(input_ids=torch.tensor([prompt + answer], device=device), use_cache=False).logits
            told = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            expected.append(told.gather(-1, torch.tensor(answer, device=device)[:, None])[:, 0])
        try:
            found += [_scores(module, network, pairs, sharing)[0] for sharing in (None, SHARED)]
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError):  # whatever a family makes of a packed row
            return False
    near = TOLERANCE.get(head.weight.dtype, COARSE)
    told = torch.cat(expected)
    return all(torch.allclose(each, told, rtol=near, atol=near, equal_nan=True) for each in found)


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
