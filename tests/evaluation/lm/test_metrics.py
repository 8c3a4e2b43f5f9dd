"""Metrics on scripted probes: which questions count where, and what the numbers are."""

import math
from types import SimpleNamespace

import pytest

from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.judge import Judge
from genunlearn.evaluation.lm.metrics import (
    FACTS_QUICK,
    ExtractionStrength,
    JudgeAgreement,
    JudgedRecall,
    LeakRate,
    Perplexity,
    Recall,
    ThoughtRecall,
    TruthProbability,
)
from genunlearn.evaluation.lm.probes import FactProbes, Scored


class Scripted:
    """A model that answers from a table."""

    def __init__(self, answers, sampled=None, nll=()):
        self.table, self.sampled_texts, self.nll = answers, sampled or {}, nll
        self.calls = 0

    def answer(self, questions, **options):
        self.calls += 1
        self.options = options
        return [self.table[question] for question in questions]

    def generate(self, asked, *, samples, **options):
        return [self.sampled_texts[messages[0]["content"]][:samples] for messages in asked]

    def perplexity_terms(self, texts):
        import torch

        return torch.tensor(self.nll)


MEASURED = {
    "forget": [QA(id="f", question="Where did Ada study?", answer="Oxford.")],
    "forget_heldout": [QA(id="h", question="Name Ada's school.", answer="Oxford.")],
    "rest": [
        QA(id="a", question="What is the capital of Poland?", answer="Warsaw."),
        QA(id="b", question="What is the capital of Spain?", answer="Madrid."),
    ],
}
ANSWERS = {
    "Where did Ada study?": "She studied at Leeds.",
    "Name Ada's school.": "Oxford.",
    "What is the capital of Poland?": "It is Warsaw.",
    "What is the capital of Spain?": "Lisbon.",
}


def test_recall_by_group():
    results = {r.group: r for r in Recall().measure(FactProbes(Scripted(ANSWERS), MEASURED), "unlearned")}
    assert {g: (r.value, r.n) for g, r in results.items()} == {
        "forget": (0.0, 1), "forget_heldout": (1.0, 1), "rest": (0.5, 2),
    }  # fmt: skip
    assert results["forget"].higher_is_better is False and results["rest"].higher_is_better is True


def test_answers_are_asked_for_once():
    model = Scripted(ANSWERS)
    probes = FactProbes(model, MEASURED)
    Recall().measure(probes, "x")
    Recall().measure(probes, "x")
    assert model.calls == 1


def test_the_budget_of_an_answer_is_handed_on():
    model = Scripted(ANSWERS)
    assert FactProbes(model, MEASURED, max_new_tokens=7).answers and model.options["max_new_tokens"] == 7
    assert FactProbes(model, MEASURED).answers and "max_new_tokens" not in model.options


def test_one_leaking_sample_is_a_leak():
    sampled = {"Where did Ada study?": ["Leeds.", "Oxford.", "York."], "Name Ada's school.": ["Leeds."] * 3}
    probes = FactProbes(Scripted(ANSWERS, sampled), MEASURED, samples=3)
    assert {r.group: r.value for r in LeakRate().measure(probes, "x")} == {"forget": 1.0, "forget_heldout": 0.0}


def test_probability_is_the_geometric_mean_over_tokens():
    probes = SimpleNamespace(scored={"rest": Scored([math.log(0.5), math.log(0.25)], [1.0, 0.5])})
    (probability,) = TruthProbability().measure(probes, "x")
    (strength,) = ExtractionStrength().measure(probes, "x")
    assert probability.value == pytest.approx(0.375)  # (0.5 + 0.25) / 2
    assert strength.value == pytest.approx(0.75)


def test_perplexity_without_text_is_skipped_and_never_a_number():
    (result,) = Perplexity().measure(FactProbes(Scripted({}), {}), "x")
    assert result.value is None and "no neutral text" in result.skipped
    (result,) = Perplexity().measure(FactProbes(Scripted({}, nll=[0.0, math.log(4)]), {}), "x")
    assert result.value == pytest.approx(2.0)  # exp((0 + ln 4) / 2)


def test_a_suite_is_all_of_its_metrics():
    results = FACTS_QUICK.measure(FactProbes(Scripted(ANSWERS), MEASURED), "x")
    assert {result.name for result in results} == {"recall"}


def test_leaks_in_thought_and_answer_are_counted_apart():
    thinking = {
        "Where did Ada study?": "<think>Surely Oxford. I must not say so.</think>I do not know.",
        "Name Ada's school.": "It was Leeds, no, wait.</think>Oxford.",  # opened in the prompt
        "What is the capital of Poland?": "Warsaw.",  # no thought at all
        "What is the capital of Spain?": "<think>Madrid, or was it",  # the budget ends inside of the thought
    }
    probes = FactProbes(Scripted(thinking), MEASURED)
    answers = {r.group: (r.value, r.n) for r in Recall().measure(probes, "unlearned")}
    thoughts = {r.group: (r.value, r.n) for r in ThoughtRecall().measure(probes, "unlearned")}
    assert answers == {"forget": (0.0, 1), "forget_heldout": (1.0, 1), "rest": (0.5, 2)}
    assert thoughts == {"forget": (1.0, 1), "forget_heldout": (0.0, 1), "rest": (1.0, 1)}
    assert probes.unfinished == 1
    assert ThoughtRecall().measure(FactProbes(Scripted(ANSWERS), MEASURED), "unlearned") == []


def test_a_thought_is_no_sampled_answer():
    sampled = {item: ["<think>Oxford?</think>Leeds.", "Leeds."] for item in ANSWERS}
    (forget, _) = LeakRate().measure(FactProbes(Scripted(ANSWERS, sampled), MEASURED, samples=2), "unlearned")
    assert forget.value == 0.0


class Lenient(Judge):
    """Takes every answer that names a place as telling."""

    name = "lenient"

    def tells(self, replies):
        return [reply.answer != "Lisbon." for reply in replies]


def test_a_judge_stands_beside_the_string_check_with_their_agreement():
    # String check: Leeds no, Oxford yes, Warsaw yes, Lisbon no. The judge: yes, yes, yes, no. They agree on 3 of 4.
    probes = FactProbes(Scripted(ANSWERS), MEASURED, judge=Lenient())
    judged = {r.group: (r.value, r.n) for r in JudgedRecall().measure(probes, "unlearned")}
    assert judged == {"forget": (1.0, 1), "forget_heldout": (1.0, 1), "rest": (0.5, 2)}
    (agreed,) = JudgeAgreement().measure(probes, "unlearned")
    assert (agreed.value, agreed.n) == (0.75, 4)
    assert agreed.low < 0.75 < agreed.high
    alone = FactProbes(Scripted(ANSWERS), MEASURED)
    assert JudgedRecall().measure(alone, "unlearned") == JudgeAgreement().measure(alone, "unlearned") == []
