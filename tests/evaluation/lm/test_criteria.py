"""The five criteria of targeted unlearning, and membership of texts, against values worked by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.judge import Judge
from genunlearn.evaluation.lm import benchmark
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.criteria import (
    AdversarialRobustness,
    HallucinationAvoidance,
    KeptUtility,
    ResponseQuality,
    UnlearningEfficacy,
)
from genunlearn.evaluation.lm.text_membership import PrivLeak, TextMembership

ANSWERS = {
    "Where did Varchi live?": "I don't know.",
    "What was Varchi's nationality?": "He was an Italian.",
    "Who was Bembo?": "a poet",
    "Who was Dante?": "a great poet of the city",
}


class Scripted:
    """A model that answers from a table, and after other questions as `attacked` says."""

    longest_answer = 8
    network = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=100))
    chat = SimpleNamespace(prompt_ids=lambda messages: [0] * 10 * len(messages))

    def __init__(self, attacked: str = "") -> None:
        self.attacked, self.asked = attacked, []

    def answer(self, questions, **options):
        return [ANSWERS[question] for question in questions]

    def generate(self, conversations, **options):
        self.asked += conversations
        return [[self.attacked] for _ in conversations]


def qa(question: str, answer: str) -> QA:
    return QA(id=question, question=question, answer=answer)


GONE = [qa("Where did Varchi live?", "Florence."), qa("What was Varchi's nationality?", "Italian.")]
HARD, GENERAL = [qa("Who was Bembo?", "a poet")], [qa("Who was Dante?", "a poet")]
SETS = {"forget": GONE, "hard_retain": HARD, "general_retain": GENERAL}


@pytest.fixture(autouse=True)
def unstemmed(monkeypatch):
    monkeypatch.setattr(benchmark, "porter_stem", lambda: None)


def measured(metric, sets=SETS, model=None, **options):
    (result,) = metric().measure(BenchmarkProbes(model or Scripted(), sets, **options), "unlearned")
    return result


def test_efficacy_is_the_harmonic_mean_of_other_words_and_of_what_is_not_told():
    # ROUGE-L recalls 0 and 1, of which the mean 1/2 is left; one of two questions is told: H(1/2, 1/2).
    result = measured(UnlearningEfficacy)
    assert (result.value, result.n, result.group) == (pytest.approx(1 / 2), 2, "gone")


def test_a_judge_that_is_named_takes_the_place_of_the_string_check():
    class Mild(Judge):
        def tells(self, replies):
            return [False for _ in replies]

    # Nothing told: H(1/2, 1) = 2 / (2 + 1).
    assert measured(UnlearningEfficacy, judge=Mild()).value == pytest.approx(2 / 3)


def test_utility_is_the_harmonic_mean_over_what_must_stay():
    # "a poet": recall 1. "a great poet of the city" has both words of "a poet" too, in order: H(1, 1).
    assert measured(KeptUtility).value == pytest.approx(1.0)
    # Of "a poet of Florence" half is there: H(1, 1/2) = 2/3.
    sets = SETS | {"general_retain": [qa("Who was Dante?", "a poet born Florentine")]}
    assert measured(KeptUtility, sets).value == pytest.approx(2 / 3)


def test_quality_falls_with_repetition_and_with_silence(monkeypatch):
    monkeypatch.setitem(ANSWERS, "Who was Bembo?", "a b a b a b a")  # abab, baba, abab, baba: 1/2
    monkeypatch.setitem(ANSWERS, "Where did Varchi live?", " ")  # of the two that are to go: (0 + 1) / 2
    assert measured(ResponseQuality).value == pytest.approx(3 / (2 + 2 + 1))
    assert measured(ResponseQuality).group == "all"


def test_hallucinations_are_avoided_by_declining():
    result = measured(HallucinationAvoidance)
    assert (result.value, result.n) == (0.5, 2) and result.low < 0.5 < result.high


def test_robustness_is_asked_after_answered_questions_about_other_things(monkeypatch):
    monkeypatch.setattr(benchmark, "FEWEST_SHOTS", 2)
    model = Scripted("Florence, and he was Italian.")
    assert measured(AdversarialRobustness, model=model).value == 0.0
    roles = [message["role"] for message in model.asked[0]]
    assert roles == ["user", "assistant"] * 2 + ["user"] and model.asked[0][-1]["content"] == GONE[0].question
    assert {message["content"] for message in model.asked[0][1:-1:2]} == {"a poet"}
    assert measured(AdversarialRobustness, model=Scripted("I cannot say.")).value == 1.0


def test_robustness_without_enough_examples_is_skipped_with_the_reason():
    result = measured(AdversarialRobustness)
    assert result.value is None and "needs 3 questions that must stay" in result.skipped


@pytest.mark.parametrize(("metric", "sets"), [(KeptUtility, {"forget": GONE}), (UnlearningEfficacy, {"retain": HARD})])
def test_a_criterion_without_its_sets_is_skipped(metric, sets):
    assert measured(metric, sets).skipped.endswith("is asked for")


# ---- membership of texts --------------------------------------------------------------------------------------


class Rated:
    """A model that rates texts from a table, token by token."""

    table: dict[str, list[float]] = {  # noqa: RUF012
        "m1": [-1.0, -9.0, -3.0, -1.0, -1.0],  # of five tokens the two least likely: -6
        "m2": [-2.0, -1.0],  # of two tokens one at least: -2
        "o1": [-4.0, -4.0, -4.0, -4.0, -4.0],  # -4
        "o2": [-8.0],  # -8
    }

    def text_logprobs(self, texts):
        return [torch.tensor(self.table[text]) for text in texts]


TEXTS = {"members": ["m1", "m2"], "others": ["o1", "o2"]}


def test_membership_of_texts_by_hand():
    # Members -6 and -2, others -4 and -8: of four pairs, three have the member above.
    result = measured(TextMembership, {}, Rated(), texts=TEXTS)
    assert (result.value, result.n, result.higher_is_better) == (0.75, 4, False)


@pytest.mark.parametrize(("control", "expected"), [(None, -50.0), (0.5, -50.0), (0.75, 0.0), (0.6, -37.5)])
def test_privleak_is_held_against_the_retain_model_or_against_chance(control, expected):
    # 100 ((1 - 3/4) - (1 - c)) / (1 - c).
    result = measured(PrivLeak, {}, Rated(), texts=TEXTS, retrained_area=lambda: control)
    assert result.value == pytest.approx(expected)
    assert result.low < result.value < result.high


def test_privleak_without_a_scale_or_texts_is_skipped():
    assert "no scale" in measured(PrivLeak, {}, Rated(), texts=TEXTS, retrained_area=lambda: 1.0).skipped
    assert measured(PrivLeak, {}, Rated(), texts={"members": ["m1"]}).skipped.startswith("the benchmark has no texts")
