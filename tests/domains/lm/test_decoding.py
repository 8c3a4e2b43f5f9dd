"""Texts are those of transformers' own loop, sequence for sequence, though what is over leaves the batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from genunlearn.config import ParametersConfig
from genunlearn.domains.lm import decoding, generation
from genunlearn.domains.lm.room import Room, cut_batches
from genunlearn.domains.lm.stopping import Said
from genunlearn.engine import parameters
from tests.domains.lm.test_generation_ends import ASKED
from tests.tiny_models import FAMILIES
from tests.worlds import TAUGHT

OPTIONS = ({}, {"samples": 5, "temperature": 1.0, "seed": 3}, {"samples": 2, "temperature": 0.3, "max_lines": 1})


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_the_library(tiny, monkeypatch, family, options):
    model = tiny(family)
    ours = model.generate(ASKED, max_new_tokens=24, **options)
    monkeypatch.setattr(generation, "is_plain", lambda network: False)
    assert model.generate(ASKED, max_new_tokens=24, **options) == ours


@pytest.mark.parametrize("options", [{}, {"max_lines": 1}, {"batch_size": 2}])
@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_shapes_decode_the_same_greedy_texts(tiny, family, options):
    """Batches are filled up, the cache is longer than any text, and the second batch finds it empty."""
    model = tiny(family)
    plain = model.generate(ASKED, max_new_tokens=24, **options)
    before = model.meter.tokens_generated
    model.is_compiled = True
    assert model.generate(ASKED, max_new_tokens=24, **options) == plain
    assert model.meter.tokens_generated == 2 * before


def test_fixed_shapes_are_those_of_every_batch(tiny, monkeypatch):
    model, shapes = tiny("llama"), []
    library = generation.decode_by_library

    def decode(network, packed, how, stopping, cache):
        shapes.append((len(packed["input_ids"]), cache.layers[0].max_cache_len, cache))
        return library(network, packed, how, stopping, cache)

    monkeypatch.setattr(generation, "decode_by_library", decode)
    model.is_compiled = True
    until = [lambda text: True] * len(ASKED)
    model.generate(ASKED, batch_size=2, samples=2, temperature=1.0, max_new_tokens=8, until=until)
    assert len(shapes) == len(ASKED) and {shape[:2] for shape in shapes} == {(16, 64)}
    assert len({id(cache) for *_, cache in shapes}) == 1


def test_fixed_shapes_decode_with_a_lora_too(tiny):
    model = tiny("llama")
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    for name, weight in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    plain = model.generate(ASKED, max_new_tokens=24)
    model.is_compiled = True
    assert model.generate(ASKED, max_new_tokens=24) == plain


def test_a_model_keeps_to_the_rules_that_it_is_published_with(tiny):
    model = tiny("llama")
    assert decoding.is_plain(model.network)
    (before,) = model.generate(ASKED[:1], max_new_tokens=1)[0]
    said = model.tokenizer(before, add_special_tokens=False)["input_ids"]
    spelt = model.tokenizer(f" {before}", add_special_tokens=False)["input_ids"]
    model.network.generation_config.bad_words_ids = [said, spelt]
    assert not decoding.is_plain(model.network)
    assert before and before not in model.generate(ASKED[:1], max_new_tokens=1)[0]


def test_sequences_that_are_over_leave_the_batch(world, monkeypatch):
    model, sizes = world.open(), []
    forward = decoding._forward
    monkeypatch.setattr(
        decoding, "_forward", lambda network, ids, *rest: sizes.append(len(ids)) or forward(network, ids, *rest)
    )
    answers = model.answer([question for question, _ in TAUGHT])
    assert answers == [answer for _, answer in TAUGHT]
    lengths = sorted(len(model.encode(question, answer)[1]) for question, answer in TAUGHT)
    # After n tokens those are left whose answer, its end included, is longer; one of eight may stay too long.
    expected = [len(TAUGHT), *(sum(length > n for length in lengths) for n in range(1, lengths[-1]))]
    assert len(sizes) == len(expected)
    assert all(left <= size <= max(left + 1, left * 8 / 7) for size, left in zip(sizes, expected, strict=True))
    assert sizes[-1] < sizes[0]


def test_a_prompt_is_read_once_for_all_its_samples(tiny, monkeypatch):
    model, sizes = tiny("llama"), []
    forward = decoding._forward
    monkeypatch.setattr(
        decoding, "_forward", lambda network, ids, *rest: sizes.append(tuple(ids.shape)) or forward(network, ids, *rest)
    )
    model.generate(ASKED, samples=4, temperature=1.0, max_new_tokens=3)
    assert [rows for rows, _ in sizes] == [3, 12, 12]
    assert [columns for _, columns in sizes[1:]] == [1, 1]


def test_a_text_ends_with_the_sentence_that_is_waited_for(world):
    model = world.open()
    asked = [[{"role": "user", "content": question}] for question, _ in TAUGHT]
    whole = [texts[0] for texts in model.generate(asked)]
    never = model.generate(asked, until=[lambda text: False] * len(asked))
    assert [texts[0] for texts in never] == whole
    read: list[str] = []

    def is_said(text: str, wanted: str) -> bool:
        read.append(text)
        return wanted in text

    until = [partial(is_said, wanted=answer.split()[0]) for _, answer in TAUGHT]
    cut = [texts[0] for texts in model.generate(asked, until=until)]
    assert all(full.startswith(text) and text for full, text in zip(whole, cut, strict=True))
    assert read and all(text.rstrip()[-1] in ".!?" for text in read)


class Pieces:
    """A tokenizer of whole pieces, of which 0 is special."""

    pieces = ("", "It is", " Goethe", ".", " No", " more")

    def decode(self, row, *, skip_special_tokens):
        return "".join(self.pieces[i] for i in row)

    def batch_decode(self, rows, *, skip_special_tokens):
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]


def test_what_is_waited_for_counts_at_the_end_of_a_sentence_and_after_the_prompt():
    said = Said(Pieces(), [lambda text: "Goethe" in text] * 3, start=1)
    rows = [[2, 1, 2], [1, 2, 3], [2, 1, 3]]  # in a sentence; at its end; in the prompt alone
    assert said(torch.tensor(rows), None).tolist() == [False, True, False]


# ---- how much goes through at once ----------------------------------------------------------------------------


def test_batches_are_cut_by_memory_and_number():
    # A sequence of 10 tokens takes 10 * 4 + 60 = 100 bytes, one of 20 takes 140.
    lengths = [10] * 5 + [20] * 3
    room = Room(sequences=4, memory=430, token=4, sequence=60)
    assert cut_batches(range(8), lengths.__getitem__, 1, room) == [[0, 1, 2, 3], [4, 5, 6], [7]]
    assert cut_batches(range(8), lengths.__getitem__, 2, room) == [[0, 1], [2, 3], [4], [5], [6], [7]]
    assert cut_batches(range(2), lengths.__getitem__, 64, room) == [[0], [1]]  # never less than one prompt
    assert cut_batches([], lengths.__getitem__, 1, room) == []


def test_room_counts_keys_values_and_logits(tiny):
    network = tiny("llama").network
    config = network.config
    room = Room.of(network, torch.device("cpu"), None)
    # Two of them, four bytes each, of every layer and head.
    width = config.head_dim * config.num_key_value_heads
    assert room.token == 2 * 4 * config.num_hidden_layers * width
    assert room.sequence == 3 * 4 * config.vocab_size
    assert room.sequences == 128
    assert Room.of(network, torch.device("cpu"), 7).sequences == 7
