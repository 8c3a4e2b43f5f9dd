"""Prompts: encoded once, as the pipeline encodes them; concepts found among their tokens."""

import pytest
import torch

from genunlearn.data.diffusion.concepts import ConceptPrompt
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.attention import concept_tokens
from genunlearn.domains.diffusion.prompts import PromptEmbedding, Section
from genunlearn.errors import DataError
from tests.tiny_pipelines import FAMILIES, HIDDEN, MAX_TOKENS, WORDS, clip_tokenizer, t5_tokenizer, tiny

CLIP, T5 = Section(clip_tokenizer(), 0, MAX_TOKENS), Section(t5_tokenizer(), 0, MAX_TOKENS)


def model(family: str) -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


def test_the_tiny_tokenizers_know_their_words() -> None:
    assert [word for word in WORDS if len(CLIP.ids(word)) != 1 or len(T5.ids(word)) != 1] == []


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_one_text_encoder(family: str) -> None:
    adapter = model(family)
    expected, _ = adapter.pipeline.encode_prompt(["a cat", "a dog"], "cpu", 1, False)
    torch.testing.assert_close(adapter.encode_prompts(["a cat", "a dog"]).tokens, expected)
    assert adapter.unconditional(2).tokens.shape == (2, MAX_TOKENS, HIDDEN)


def test_two_text_encoders_and_pooled_text() -> None:
    adapter = model("sdxl")
    tokens, nothing, pooled, nothing_pooled = adapter.pipeline.encode_prompt("a cat")
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).tokens, tokens)
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).pooled, pooled)
    assert not adapter.unconditional(1).tokens.any(), "this pipeline forces zeros for the empty prompt"
    torch.testing.assert_close(adapter.unconditional(1).pooled, nothing_pooled)
    assert nothing.shape == tokens.shape
    adapter.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert model("sdxl").encode_prompts([""]).tokens.any()


def test_joint_transformers() -> None:
    adapter = model("sd3")
    tokens, _, pooled, _ = adapter.pipeline.encode_prompt("a cat", None, None, max_sequence_length=MAX_TOKENS)
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).tokens, tokens)
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).pooled, pooled)
    adapter = model("flux")
    tokens, pooled, _ = adapter.pipeline.encode_prompt("a cat", max_sequence_length=MAX_TOKENS)
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).tokens, tokens)
    torch.testing.assert_close(adapter.encode_prompts(["a cat"]).pooled, pooled)


def test_each_prompt_is_encoded_once() -> None:
    adapter = model("sd1")
    calls: list[int] = []
    adapter.pipeline.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    first = adapter.encode_prompts(["a cat", "a dog", "a cat"])
    adapter.encode_prompts(["a dog"])
    assert len(calls) == 1
    assert torch.equal(first.tokens[0], first.tokens[2])
    adapter.encode_prompts(["a church"])
    assert len(calls) == 2


def test_rows_of_embeddings() -> None:
    both = PromptEmbedding(torch.arange(6.0).view(2, 3, 1), torch.tensor([[1.0], [2.0]]))
    assert both[1:].pooled.item() == 2.0
    assert len(PromptEmbedding.cat([both, both[:1]])) == 3
    assert both[:1].expand(4).tokens.shape == (4, 3, 1)
    assert torch.equal(both.with_tokens(both.tokens + 1).pooled, both.pooled)


@pytest.mark.parametrize(
    ("section", "prompt", "part", "span"),
    [
        # <start> a photo of digit seven <end>
        (CLIP, "a photo of digit seven", "digit seven", (4, 6)),
        (CLIP, "a photo of DIGIT  seven", "seven", (5, 6)),
        (CLIP, "digit seven in red", "digit seven", (1, 3)),
        (CLIP, "a photo of digit seven", "", (6, 6)),
        (CLIP, "", "", (1, 1)),
        (CLIP, "a xq", "xq", (2, 4)),
        # a photo of digit seven </s>
        (T5, "a photo of digit seven", "digit seven", (3, 5)),
        (T5, "digit seven in red", "digit seven", (0, 2)),
        (T5, "", "", (0, 0)),
    ],
)
def test_where_a_concept_is(section: Section, prompt: str, part: str, span: tuple[int, int]) -> None:
    assert section.span(prompt, part) == span


def test_a_concept_that_is_not_in_its_prompt() -> None:
    with pytest.raises(DataError, match="'cat' does not occur in its prompt 'a dog'"):
        CLIP.span("a dog", "cat")


def test_a_concept_beyond_the_end_of_the_prompt() -> None:
    with pytest.raises(DataError, match=r"'cat' in .* lies beyond the 16 tokens"):
        CLIP.span("a " * 15 + "cat", "cat")


def test_concept_tokens_of_a_batch() -> None:
    adapter = model("sd1")
    items = [
        ConceptPrompt(id="1", prompt="a digit seven", concept="digit seven"),
        ConceptPrompt(id="2", prompt="a red cat", concept="cat"),
    ]
    marks = concept_tokens(adapter, adapter.collate(items))
    assert marks.shape == (2, MAX_TOKENS)
    assert [row.nonzero().flatten().tolist() for row in marks] == [[2, 3], [3]]


def test_the_concept_is_written_into_later_tokens_too() -> None:
    adapter = model("sd3")
    item = ConceptPrompt(id="1", prompt="a red cat", concept="cat")
    (row,) = concept_tokens(adapter, adapter.collate([item]), and_later=True)
    assert row.nonzero().flatten().tolist() == [*range(3, MAX_TOKENS), *range(MAX_TOKENS + 2, 2 * MAX_TOKENS)]


def test_concept_tokens_lie_in_every_section() -> None:
    adapter = model("sd3")
    item = ConceptPrompt(id="1", prompt="a red cat", concept="cat")
    (row,) = concept_tokens(adapter, adapter.collate([item]))
    assert row.nonzero().flatten().tolist() == [3, MAX_TOKENS + 2]  # after <start> a red; after a red


@pytest.mark.parametrize("family", FAMILIES)
def test_concepts_that_no_prompt_can_carry(family: str) -> None:
    adapter = model(family)
    adapter.check_concepts(["digit seven", "Van Gogh"])
    with pytest.raises(DataError, match=r"concept ' ': the tokenizer makes no token of it"):
        adapter.check_concepts([" "])
    with pytest.raises(DataError, match=r"concept 'cat cat .* has 20 tokens, a prompt holds 14"):
        adapter.check_concepts(["cat " * 19 + "cat"])


def test_prompts_that_stand_for_embeddings() -> None:
    adapter = model("sdxl")
    given = adapter.encode_prompts(["a cat", "a dog"])
    names = adapter.prompts.name(given)
    assert len(set(names)) == 2
    again = adapter.encode_prompts([names[1], "a cat", names[0]])
    assert torch.equal(again.tokens, given.tokens[[1, 0, 0]])
    assert torch.equal(again.pooled, given.pooled[[1, 0, 0]])
