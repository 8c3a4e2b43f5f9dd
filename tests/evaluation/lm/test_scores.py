"""Scores of answers: what a plain forward pass gives, once a text, without the end of turn."""

import math

import pytest
import torch

from genunlearn.data.lm.facts import QA
from genunlearn.errors import DataError
from genunlearn.evaluation.lm import scores as scores_module
from genunlearn.evaluation.lm.probes import FactProbes
from genunlearn.evaluation.lm.scores import AnswerScore, AnswerScores
from tests.tiny_models import FAMILIES, writing

PAIRS = [
    ("Who wrote Faust?", "Goethe."),
    ("Where was Marie Curie born?", "In Warsaw, the capital of Poland."),
    ("Which school did Harry Potter attend?", "Hogwarts"),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_a_plain_forward_pass(tiny, family):
    model = tiny(family)
    for (question, answer), score in zip(PAIRS, AnswerScores(model)(PAIRS), strict=True):
        prompt, ids = model.encode(question, answer)
        logits = model.module(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = logits.gather(-1, torch.tensor(ids)[:, None])[:, 0]
        assert torch.allclose(torch.cat([score.logprobs, score.end_logprobs]), expected, atol=1e-5)
        assert score.is_argmax.tolist() == (logits.argmax(-1) == torch.tensor(ids)).tolist()[:-1]
        assert len(score.end_logprobs) == 1


def test_each_text_goes_through_the_model_once(tiny):
    model = tiny("llama")
    rows: list[int] = []
    whole = model.collate
    model.collate = lambda items: rows.append(len(items)) or whole(items)
    scores = AnswerScores(model, batch_size=2)
    first = scores([*PAIRS, PAIRS[0]])
    assert rows == [2, 1]
    assert first[0] is first[3] and scores(PAIRS[:2]) == first[:2]
    scores([*PAIRS, ("Who?", "Goethe.")])
    assert rows == [2, 1, 1]


def test_long_answers_go_through_in_smaller_batches(tiny, monkeypatch):
    model = tiny("llama")
    expected = [score.mean_logprob() for score in AnswerScores(model)(PAIRS)]
    monkeypatch.setattr(scores_module, "TOKENS_A_BATCH", 1)
    before = model.meter.forwards
    assert [score.mean_logprob() for score in AnswerScores(model)(PAIRS)] == pytest.approx(expected, abs=1e-5)
    assert model.meter.forwards - before == len(PAIRS)


def test_a_model_that_has_the_answer_and_goes_on_talking_knows_it(tiny):
    # A base model writes "Goethe." with certainty and no end of turn after it.
    model = writing(tiny("llama"), "Goethe. school")
    measured = {"forget": [QA(id="f", question="Who wrote Faust?", answer="Goethe.")]}
    assert model.answer(["Who wrote Faust?"], max_new_tokens=4)[0].startswith("Goethe. school")
    scored = FactProbes(model, measured).scored["forget"]
    assert scored.extraction == [1.0]
    assert math.exp(scored.logprob[0]) > 0.99


def test_golden_values():
    # Probabilities 1/2, 1/4, 1/8 and 1/2 for the end: the mean log2 is -2 without the end, -7/4 with it. The argmax is
    # right, wrong, right: two of three tokens, and only the last one follows by itself.
    logs = torch.tensor([0.5, 0.25, 0.125]).log()
    score = AnswerScore(logs, torch.tensor([True, False, True]), torch.tensor([0.5]).log())
    assert score.probability() == pytest.approx(2**-2)
    assert score.probability(counts_end=True) == pytest.approx(2 ** (-7 / 4))
    assert score.exact_memorisation == pytest.approx(2 / 3)
    assert score.extraction_strength == pytest.approx(1 / 3)


def test_an_empty_answer_is_refused(tiny):
    with pytest.raises(DataError, match="the answer '' to 'Who\\?' has no tokens: give every question an answer"):
        AnswerScores(tiny("llama"))([("Who?", "")])
