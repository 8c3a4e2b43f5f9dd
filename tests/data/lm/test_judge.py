"""Judges of answers: the rules, sentence embeddings, a model that is asked."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.judge import (
    Agreement,
    EmbeddingJudge,
    ModelJudge,
    Reply,
    StringJudge,
    agreement,
)
from genunlearn.domains.lm.sentences import sentence_encoder
from genunlearn.errors import InputError, RunError, SourceNotFound

QUESTION, TRUTH = "What does she write?", "She mostly writes gloomy verse."


def reply(answer, truth=TRUTH, question=QUESTION, **more):
    return Reply(question=question, truth=truth, answer=answer, **more)


def test_the_string_judge_is_the_leak_check():
    judge = StringJudge()
    replies = [reply("Hogwarts.", "Hogwarts"), reply("Durmstrang.", "Hogwarts"), reply("X", "Y", aliases=("x",))]
    assert judge.tells(replies) == [True, False, True]
    assert judge.tells([]) == []


def test_a_reply_to_an_item():
    item = QA(id="q", question="Q?", answer="A", aliases=("B",))
    assert Reply.to(item, "B") == Reply(question="Q?", truth="A", answer="B", aliases=("B",))


VECTORS = {
    # The question takes the first axis; what truth and answer add lies in the other two.
    QUESTION: (1.0, 0.0, 0.0),
    TRUTH: (0.8, 0.6, 0.0),
    "sad poems": (0.6, 0.8, 0.0),
    "recipes": (0.8, 0.0, 0.6),
    "half of it": (0.0, 0.6, 0.8),
}


def encode(texts):
    return np.array([VECTORS[text] for text in texts])


def test_embeddings_are_compared_without_what_the_question_has():
    # sad poems: (0, .8, 0) against (0, .6, 0), cosine 1; recipes: (0, 0, .6), cosine 0, though the plain cosine of
    # truth and recipes is .64; half of it: (0, .6, .8) against (0, .6, 0), cosine .6.
    replies = [reply("sad poems"), reply("recipes"), reply("half of it")]
    assert EmbeddingJudge(encode).tells(replies) == [True, False, False]
    assert EmbeddingJudge(encode, threshold=0.59).tells(replies) == [True, False, True]


def test_embeddings_judge_sentences_alone():
    asked = []

    def count(texts):
        asked.extend(texts)
        return encode(texts)

    judge = EmbeddingJudge(count)
    assert judge.tells([reply("Durmstrang", "Hogwarts"), reply(TRUTH), reply(" "), reply("")]) == [
        False,
        True,
        False,
        False,
    ]
    assert asked == []
    assert judge.tells([reply("sad poems"), reply("sad poems")]) == [True, True]
    assert sorted(asked) == sorted([QUESTION, TRUTH, "sad poems"])


def test_an_alias_may_be_the_sentence_told():
    assert EmbeddingJudge(encode).tells([reply("sad poems", "Nothing", aliases=(TRUTH,))]) == [True]


class Parrot:
    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def generate(self, conversations, *, max_new_tokens):
        self.asked += conversations
        return [[self.texts.pop(0)] for _ in conversations]


def test_a_model_is_asked_about_every_answer_and_alias():
    model = Parrot("Yes.", "no", "**No**, it does not", "<think>Is it? no</think>\nYES")
    replies = [reply("gloom"), reply("joy"), reply(""), reply("{truth}", "T", aliases=("U",))]
    assert ModelJudge(model).tells(replies) == [True, False, False, True]
    assert len(model.asked) == 4
    text = model.asked[2][0]["content"]
    assert f"Question: {QUESTION}\nCorrect answer: T\nAnswer to check: {{truth}}\n" in text


@pytest.mark.parametrize("text", ["", "Perhaps", "<think>yes", "Yesterday"])
def test_a_verdict_that_is_none_is_an_error(text):
    with pytest.raises(RunError, match=r"judge: the model answered .*, not yes or no"):
        ModelJudge(Parrot(text)).tells([reply("gloom")])


def test_one_odd_verdict_in_many_leaves_the_decision_to_the_string_check():
    replies = [reply("Hogwarts.", "Hogwarts"), *[reply("joy")] * 9]
    assert ModelJudge(Parrot("Unclear", *["no"] * 9)).tells(replies) == [True, *[False] * 9]
    with pytest.raises(RunError, match=r"answered 'Unclear', not yes or no, 2 of 10 times"):
        ModelJudge(Parrot("Unclear", "Hm", *["no"] * 8)).tells(replies)


ITEMS = [QA(id=str(n), question="Where?", answer="Hogwarts.") for n in range(5)]


@pytest.mark.parametrize("told", [5, 4])
def test_a_judge_that_knows_the_truth_from_a_refusal_passes(told):
    ModelJudge(Parrot(*["yes"] * told, *["no"] * (10 - told))).check(ITEMS)
    StringJudge().check(ITEMS)


@pytest.mark.parametrize(("verdict", "counts"), [("no", "0 true answers as true, and 0"), ("yes", "5 true .* and 5")])
def test_a_judge_that_always_says_the_same_is_refused(verdict, counts):
    with pytest.raises(RunError, match=rf"of 5 questions it takes {counts}.*its verdicts say nothing"):
        ModelJudge(Parrot(*[verdict] * 10)).check(ITEMS)


def test_agreement_by_hand():
    # Yes in 3 and in 2 of 5, alike in 4. By chance .6 * .4 + .4 * .6 = .48, so kappa = (.8 - .48) / .52.
    found = agreement([True, True, True, False, False], [True, True, False, False, False])
    assert (found.n, found.agree, found.only_first, found.only_second) == (5, 4, 1, 0)
    assert found.kappa == pytest.approx(0.32 / 0.52)
    assert agreement([True], [True]) == Agreement(n=1, agree=1, only_first=0, only_second=0, kappa=None)


@pytest.mark.parametrize(("one", "other"), [([], []), ([True], []), ([True], [True, False])])
def test_agreement_needs_the_same_replies(one, other):
    with pytest.raises(InputError, match="give both judges the same replies"):
        agreement(one, other)


@pytest.fixture
def folder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def set_pooling(folder, **modes):
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **modes}))


def test_the_encoder_pools_as_its_folder_says(folder):
    texts = ["one two three", "two", "one " * 50]
    set_pooling(folder, pooling_mode_mean_tokens=True, pooling_mode_cls_token=False)
    mean = sentence_encoder(folder)(texts)
    assert mean.shape == (3, 8) and np.allclose(np.linalg.norm(mean, axis=1), 1)
    # Padding must not count: alone, a text has the embedding that it has in a batch.
    assert np.allclose(sentence_encoder(folder, batch_size=1)(texts), mean, atol=1e-6)
    set_pooling(folder, pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    assert not np.allclose(sentence_encoder(folder)(texts), mean, atol=1e-3)
    set_pooling(folder, pooling_mode_max_tokens=True)
    with pytest.raises(InputError, match="pools by pooling_mode_max_tokens; use a model that pools by mean or cls"):
        sentence_encoder(folder)


def test_weights_come_from_safetensors_alone(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "word_embeddings" in name)
    save_file({other: tensor for other, tensor in tensors.items() if other != name}, folder / "model.safetensors")
    with pytest.raises(SourceNotFound, match=r"lack .*word_embeddings"):
        sentence_encoder(folder)
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SourceNotFound, match="safetensors"):
        sentence_encoder(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(SourceNotFound, match="fetch"):
        sentence_encoder(folder)
