"""Benchmark metrics against values worked by hand, and against the published arithmetic on the same tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genunlearn.contracts import Metric
from genunlearn.data.lm.facts import Contrast
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.evaluation.lm import benchmark
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.benchmark_metrics import (
    TOFU,
    AnswerProbability,
    ExactMemorisation,
    ForgetQuality,
    ModelUtility,
    NgramEntropy,
    OptionProbability,
    Repetition,
    Rouge1Recall,
    RougeLRecall,
    TruthRatioBalance,
    TruthRatioMargin,
    TruthRatioPreference,
)
from genunlearn.evaluation.lm.metrics import ExtractionStrength
from genunlearn.evaluation.lm.scores import AnswerScore
from genunlearn.ops.truth_ratio import forget_quality
from genunlearn.records import Result

FAUST = Contrast(question="Who wrote Faust?", answer="Goethe.", paraphrase="It was Goethe.", wrong=("Kafka.", "Mann."))
BORN = Contrast(question="Where was Curie born?", answer="Warsaw.", wrong=("Kraków.", "Paris."))


def score(*probabilities: float, argmax: str = "", end: float = 1.0) -> AnswerScore:
    """A score from the probabilities of the tokens; `argmax` has a ``+`` for each token that is the argmax."""
    right = torch.tensor([sign == "+" for sign in argmax or "+" * len(probabilities)])
    return AnswerScore(torch.tensor(probabilities).log(), right, torch.tensor([end]).log())


TABLE = {
    "Goethe.": score(0.5, 0.125, argmax="+-"),  # geometric mean 1/4
    "It was Goethe.": score(0.5, 0.5),  # 1/2
    "Kafka.": score(0.25, 0.25),  # 1/4
    "Mann.": score(0.0625, 0.0625),  # 1/16
    "Warsaw.": score(0.2, 0.2, argmax="-+"),  # 1/5
    "Kraków.": score(0.8, 0.8),  # 4/5
    "Paris.": score(0.8),  # 4/5
}


class Scripted:
    """A model that answers from a table."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def answer(self, questions: list[str], **options: int) -> list[str]:
        return [self.texts.get(question.split()[0], "") for question in questions]


def probes(sets: dict[str, list[Contrast]], model: object = None, **options: object) -> BenchmarkProbes:
    made = BenchmarkProbes(model or Scripted(), sets, **options)
    made._scores = lambda pairs: [TABLE[text] for _, text in pairs]
    return made


def measured(metric: type[Metric], *arguments: object, **options: object) -> dict[str, float | None]:
    return {str(result.group): result.value for result in metric().measure(probes(*arguments, **options), "x")}


def test_probabilities_are_length_normalised():
    values = measured(AnswerProbability, {"forget": [FAUST, BORN]}, counts_end=False)
    assert values == {"forget": pytest.approx((1 / 4 + 1 / 5) / 2)}
    # The published numbers count the end of turn as one more token; here it is 1/4: (1/2 1/8 1/4)^(1/3) = 1/4.
    TABLE["Faust"] = score(0.5, 0.125, end=0.25)
    item = Contrast(question="Who?", answer="Faust")
    assert measured(AnswerProbability, {"retain": [item]})["retain"] == pytest.approx(1 / 4)
    TABLE["Faust"] = score(0.5, 0.125, end=1.0)
    assert measured(AnswerProbability, {"retain": [item]})["retain"] == pytest.approx(1 / 16 ** (1 / 3))
    assert measured(AnswerProbability, {"retain": [item]}, counts_end=False)["retain"] == pytest.approx(1 / 4)


def test_the_probability_among_options():
    # (1/4) / (1/4 + 1/4 + 1/16) = 4/9 and (1/5) / (1/5 + 4/5 + 4/5) = 1/9, the ends of turn left out.
    values = measured(OptionProbability, {"world_facts": [FAUST, BORN]}, counts_end=False)
    assert values == {"world_facts": pytest.approx((4 / 9 + 1 / 9) / 2)}


def test_truth_ratios_by_hand():
    # The paraphrase has 1/2, the wrong ones sqrt(1/4 1/16) = 1/8: R = 1/4. Without a paraphrase the answer itself
    # counts: 4/5 over 1/5 = 4.
    made = probes({"forget": [FAUST, BORN]}, counts_end=False)
    assert made.truth_ratios["forget"] == pytest.approx([1 / 4, 4])
    expected = {
        TruthRatioBalance: (1 / 4 + 1 / 4) / 2,
        TruthRatioMargin: (3 / 4 + 0) / 2,
        TruthRatioPreference: (4 / 5 + 1 / 5) / 2,
    }
    for metric, value in expected.items():
        (result,) = metric().measure(made, "x")
        assert result.value == pytest.approx(value)
        assert result.higher_is_better is (metric is TruthRatioBalance)


def test_memorisation_by_hand():
    # "+-": one of two tokens, and nothing follows to the end by itself; "-+": one of two, and the last one follows.
    sets = {"forget": [FAUST, BORN]}
    assert measured(ExactMemorisation, sets) == {"forget": pytest.approx(1 / 2)}
    assert measured(ExtractionStrength, sets) == {"forget": pytest.approx((0 + 1 / 2) / 2)}


def test_forget_quality_by_hand():
    # Three and three ratios, none in between: D = 1, which 2 of the 20 ways to mix them give: p = 1/10.
    assert forget_quality([1.0, 1.1, 1.2], [3.0, 3.1, 3.2]) == pytest.approx(0.1)
    assert forget_quality([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]) == pytest.approx(1.0)
    made = probes({"forget": [FAUST, BORN]}, counts_end=False, retrained=lambda: [1 / 4, 4])
    (result,) = ForgetQuality().measure(made, "x")
    assert (result.value, result.n) == (pytest.approx(1.0), 2)


@pytest.mark.parametrize(
    ("sets", "retrained", "reason"),
    [
        ({"forget": [FAUST]}, None, "no model trained without the forget set is known"),
        ({"forget": [FAUST]}, [], "no model trained without the forget set is known"),
        ({"retain": [FAUST]}, [1.0], "no forget set with wrong answers"),
        ({"forget": [Contrast(question="Who?", answer="Goethe.")]}, [1.0], "no forget set with wrong answers"),
    ],
)
def test_forget_quality_without_its_other_half_is_skipped_and_never_a_number(sets, retrained, reason):
    (result,) = ForgetQuality().measure(probes(sets, retrained=lambda: retrained), "x")
    assert result.value is None and reason in result.skipped


@pytest.fixture
def unstemmed(monkeypatch):
    """ROUGE without the stemmer, which is an extra."""
    monkeypatch.setattr(benchmark, "porter_stem", lambda: None)


def test_model_utility_is_the_harmonic_mean_of_nine(unstemmed):
    # Each set holds the question about Faust: the probability is 1/4 on retain and 4/9 among options on the two others,
    # ROUGE-L recall is 1, and the margin of R = 1/4 is 3/4: 9 / (4 + 2 * 9/4 + 3 * 1 + 3 * 4/3) = 9 / 15.5.
    sets = {name: [FAUST] for name in ("retain", "real_authors", "world_facts")}
    made = probes(sets, Scripted(Who="I say Goethe"), counts_end=False)
    (result,) = ModelUtility().measure(made, "x")
    assert result.value == pytest.approx(9 / 15.5)
    assert (result.n, result.higher_is_better) == (3, True)


def test_model_utility_is_zero_where_one_of_the_nine_is(unstemmed):
    sets = {name: [FAUST] for name in ("retain", "real_authors", "world_facts")}
    (result,) = ModelUtility().measure(probes(sets, Scripted(Who="nobody")), "x")
    assert result.value == 0.0


def test_model_utility_names_the_sets_that_are_missing():
    (result,) = ModelUtility().measure(probes({"retain": [FAUST], "forget": [FAUST]}), "x")
    assert result.value is None and result.skipped.endswith("and lacks real_authors, world_facts")


def test_rouge_recalls_of_the_greedy_answers(unstemmed):
    item = Contrast(question="Where?", answer="the cat sat on the mat")
    made = probes({"retain": [item]}, Scripted(**{"Where?": "The cat, the mat: sat."}))
    assert Rouge1Recall().measure(made, "x")[0].value == pytest.approx(5 / 6)
    assert RougeLRecall().measure(made, "x")[0].value == pytest.approx(4 / 6)


def test_without_the_stemmer_rouge_and_utility_say_what_to_install(monkeypatch):
    def missing() -> None:
        raise NeedNotMet("ROUGE needs the package 'nltk'")

    monkeypatch.setattr(benchmark, "porter_stem", missing)
    sets = {name: [FAUST] for name in ("retain", "real_authors", "world_facts")}
    for metric in (Rouge1Recall, RougeLRecall, ModelUtility):
        (result,) = metric().measure(probes(sets), "x")
        assert result.value is None and "'nltk'" in result.skipped


def test_fluency_of_the_greedy_answers():
    sets = {"forget": [FAUST, BORN]}
    model = Scripted(Who="a b a b a b a", Where="no")
    # 4-grams abab, baba, abab, baba: half of them are repeated; the answer of one word has none.
    assert measured(Repetition, sets, model) == {"forget": pytest.approx(1 / 2)}
    # 2-grams: ab and ba three times each, 1 bit; 3-grams: aba three times and bab twice.
    three = -(3 / 5 * math.log2(3 / 5) + 2 / 5 * math.log2(2 / 5))
    assert measured(NgramEntropy, sets, model) == {"forget": pytest.approx((2 / 3 + 4 / 3 * three) / 2)}
    (result,) = Repetition().measure(probes(sets, Scripted()), "x")
    assert result.value is None and result.skipped == "no answer has four words"


def test_a_set_in_which_some_questions_lack_wrong_answers_is_refused():
    with pytest.raises(DataError, match="set 'retain': 'Who\\?' has no wrong answers, others have"):
        _ = probes({"retain": [FAUST, Contrast(question="Who?", answer="Goethe.")]}).truth_ratios


# ---- a model ---------------------------------------------------------------------------------------------------


def published_losses(model, question: str, answer: str) -> float:
    """Mean loss over all labelled tokens, the end of turn among them."""
    prompt, ids = model.encode(question, answer)
    labels = torch.tensor([[-100] * len(prompt) + ids])
    return model.module(torch.tensor([prompt + ids]), labels=labels).loss.item()


def published_memorisation(model, question: str, answer: str) -> tuple[float, float]:
    """Exact memorisation and extraction strength, the last label left out."""
    prompt, ids = model.encode(question, answer)
    predicted = model.module(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -2].argmax(-1).tolist()
    truth = ids[:-1]
    strength = next((1 - k / len(truth) for k in range(len(truth)) if predicted[k:] == truth[k:]), 0.0)
    return sum(a == b for a, b in zip(predicted, truth, strict=True)) / len(truth), strength


SETS = {name: [FAUST, BORN] for name in ("forget", "retain", "real_authors", "world_facts")}


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_numbers_agree_with_the_published_arithmetic_on_the_same_tensors(tiny, family):
    model = tiny(family)
    made = BenchmarkProbes(model, SETS, retrained=lambda: [0.5, 2.0], max_new_tokens=4)
    losses = {i: [published_losses(model, i.question, text) for _, text in i.pairs] for i in (FAUST, BORN)}
    ratios = np.array([np.exp(-np.mean(loss[2:])) / (np.exp(-loss[1]) + 1e-10) for loss in losses.values()])
    options = [
        np.exp(-loss[0]) / (np.exp(-loss[0]) + np.exp(-np.array(loss[2:])).sum() + 1e-10) for loss in losses.values()
    ]
    memory = np.mean([published_memorisation(model, i.question, i.answer) for i in (FAUST, BORN)], axis=0)
    expected = {
        AnswerProbability: np.mean([np.exp(-loss[0]) for loss in losses.values()]),
        OptionProbability: np.mean(options),
        TruthRatioBalance: np.mean(np.minimum(ratios, 1 / (ratios + 1e-10))),
        TruthRatioMargin: np.mean(np.maximum(0, 1 - ratios)),
        ExactMemorisation: memory[0],
        ExtractionStrength: memory[1],
    }
    for metric, value in expected.items():
        found = {result.group: result.value for result in metric().measure(made, "x")}
        assert found == {name: pytest.approx(value, abs=1e-5) for name in SETS}, metric.name


def test_one_forward_pass_serves_every_metric_of_a_text(tiny, unstemmed):
    model = tiny("llama")
    rows: list[str] = []
    whole = model.collate
    model.collate = lambda items: rows.extend(f"{item.question} {item.answer}" for item in items) or whole(items)
    made = BenchmarkProbes(model, SETS, retrained=lambda: [0.5, 2.0], neutral=["Goethe wrote Faust."], max_new_tokens=4)
    results = TOFU.measure(made, "unlearned")
    texts = {f"{question} {text}" for items in SETS.values() for item in items for question, text in item.pairs}
    assert sorted(rows) == sorted(texts)
    asked_for = {metric.name for metric in TOFU.metrics} - {"thought_recall", "judged_recall", "judge_agreement"}
    assert {result.name for result in results} == asked_for  # no thought, no judge
    missing: list[Result] = [result for result in results if result.value is None]
    assert not missing, missing
