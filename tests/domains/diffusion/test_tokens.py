"""Free tokens: with the vectors of real tokens they are those tokens, and gradients reach them."""

from __future__ import annotations

import pytest
import torch

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.tokens import FreeTokens
from genunlearn.errors import DataError, NeedNotMet
from tests.tiny_pipelines import HIDDEN, MAX_TOKENS, tiny


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


def test_vectors_of_real_tokens_are_those_tokens() -> None:
    adapter = model()
    free = FreeTokens(adapter, ["a photo of {} dog", "{} by van gogh", "in the church"], 2)
    ids = torch.tensor([free.section.ids(text) for text in ("red cat", "the letter", "a painting")])
    expected = adapter.encode_prompts(
        ["a photo of red cat dog", "the letter by van gogh", "a painting in the church"]
    ).tokens
    torch.testing.assert_close(free.embed(free.vectors(ids)).tokens, expected)
    assert free.read(ids) == ["red cat", "the letter", "a painting"]
    some = free.of([2, 0])
    torch.testing.assert_close(some.embed(free.vectors(ids[[2, 0]])).tokens, expected[[2, 0]])


def test_gradients_reach_the_vectors_and_nothing_else() -> None:
    adapter = model()
    free = FreeTokens(adapter, ["a {}"], 3)
    vectors = torch.zeros(1, 3, HIDDEN, requires_grad=True)
    free.embed(vectors).tokens.sum().backward()
    assert vectors.grad.abs().sum(-1).gt(0).all()
    assert all(weight.grad is None for weight in adapter.pipeline.text_encoder.parameters())
    torch.testing.assert_close(adapter.encode_prompts(["a x"]).tokens, model().encode_prompts(["a x"]).tokens)


def test_special_tokens_are_banned() -> None:
    free = FreeTokens(model(), ["a {}"], 1)
    assert free.banned.tolist() == [len(free.vocabulary) - 2, len(free.vocabulary) - 1]


def test_released_text_encoders_come_back() -> None:
    adapter = model()
    adapter.release()
    assert FreeTokens(adapter, ["a {}"], 1).embed(torch.zeros(1, 1, HIDDEN)).tokens.shape == (1, MAX_TOKENS, HIDDEN)


def test_no_room() -> None:
    with pytest.raises(DataError, match=r"has 15 tokens, 14 of them free; there is room for 14"):
        FreeTokens(model(), ["a"], 14)


@pytest.mark.parametrize(("family", "count"), [("sdxl", 2), ("sd3", 3), ("flux", 2)])
def test_several_text_encoders(family: str, count: int) -> None:
    with pytest.raises(NeedNotMet, match=f"has {count} text encoders; attacks on tokens take one"):
        FreeTokens(model(family), ["a {}"], 1)
