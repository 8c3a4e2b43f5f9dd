"""What generation shares between prompts, and where it ends, without a change to the texts."""

from __future__ import annotations

import pytest
import torch

from genunlearn.domains.lm import prefix
from genunlearn.domains.lm.lines import LineLimit
from genunlearn.domains.lm.prefix import is_worthwhile, shared_prefix

ASKED = [
    [{"role": "user", "content": question}]
    for question in ("Who wrote Faust?", "Who wrote Faust, then? Goethe?", "Where was Marie Curie born?")
]


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 9]], 2),
        ([[1, 2, 3]], 2),  # one token is left to predict from
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [1, 2, 3]], 1),
        ([[7, 1], [8, 1]], 0),
    ],
)
def test_the_shared_prefix_leaves_a_token_of_each_prompt(prompts, length):
    assert shared_prefix(prompts) == length


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("options", [{}, {"samples": 3, "temperature": 1.0, "seed": 5}])
def test_a_shared_prefix_changes_no_text(tiny, monkeypatch, family, options):
    model = tiny(family)
    apart = model.generate(ASKED, max_new_tokens=12, **options)
    read = []
    monkeypatch.setattr(prefix, "WORTHWHILE", 1)
    original = prefix.read_prefix
    monkeypatch.setattr(
        "genunlearn.domains.lm.generation.read_prefix", lambda *a: read.append(len(a[1])) or original(*a)
    )
    assert model.generate(ASKED, max_new_tokens=12, **options) == apart
    assert read and read[0] > 0


def test_the_lab_model_shares_nothing_and_a_larger_one_does(tiny):
    # 25 tokens before 127 other sequences on 30,000 parameters save less than 1e11; the limit is on the product.
    network = tiny("llama").network
    size = sum(parameter.numel() for parameter in network.parameters())
    assert not is_worthwhile(network, 25, 128)
    enough = int(prefix.WORTHWHILE / size) + 1
    assert is_worthwhile(network, enough, 2)
    assert not is_worthwhile(network, enough, 1)


def test_a_window_of_attention_is_not_shared(tiny):
    network = tiny("llama").network
    network.config.sliding_window = 64
    assert not is_worthwhile(network, 10**9, 10)


class Words:
    """A tokenizer of whole pieces."""

    pieces = ("one", "two", "\n", ".\n", "\n\n", "\n3", " ")

    def batch_decode(self, rows):
        return ["".join(self.pieces[i] for i in row) for row in rows]


@pytest.mark.parametrize(
    ("pieces", "ends_after"),
    [
        (["one", "\n", "two", "\n"], 4),
        (["one", ".\n", "two", ".\n"], 4),
        (["\n", "\n\n", "one", "\n", " ", "\n\n", "two", "\n"], 8),  # empty lines do not count
        (["one", "\n3", "\n"], 3),
        (["one", "two", "one"], None),
    ],
)
def test_a_sequence_ends_after_its_second_line(pieces, ends_after):
    limit, found = LineLimit(Words(), 2), None
    for count, piece in enumerate(pieces, start=1):
        ids = torch.tensor([[0, Words.pieces.index(piece)], [0, 0]])
        over, other = limit(ids, None).tolist()
        assert not other
        found = found or (count if over else None)
    assert found == ends_after
