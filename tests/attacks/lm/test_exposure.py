"""Exposure: ranks worked out by hand, and the truth found at either end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genunlearn.attacks.lm.exposure import FIRST, LAST, SURE, Exposure, exposures
from genunlearn.attacks.lm.ranking import candidates, ranks_of
from genunlearn.attacks.lm.scoring import answer_table
from genunlearn.contracts import Beside, Splits
from genunlearn.data.lm.decoys import invented_subjects
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from tests.tiny_models import TAUGHT, build, teach
from tests.world import World

NAMES = [f"{name} {kind}." for name in ("Oak", "Elm", "Ash", "Fir", "Yew") for kind in ("Hall", "Hill", "Wood", "End")]
SUBJECTS = ("Marie Curie", "Goethe", "Faust", "Rowling", "Bohr", "Ada", "Jane Eyre", "Emma")
LESSONS = (
    *TAUGHT[:2],
    *(
        (question.replace("Harry Potter", name), school)
        for name, school in zip(SUBJECTS, NAMES, strict=False)
        for question, _ in TAUGHT[:2]
    ),
)
FACT = Fact(id="potter", subject="Harry Potter", relation="studied at", object="Hogwarts", question=TAUGHT[0][0])


def splits_of(truth: str = "Hogwarts.", fact: Fact = FACT, names: list[str] = NAMES) -> Splits:
    asked = [QA(id=str(n), question=TAUGHT[n][0], answer=truth, fact=fact.id) for n in (0, 1)]
    pool = [QA(id=name, question="", answer=name) for name in names]
    return Splits(forget=asked, context=Scope(facts=(fact,), measured={"forget": asked, "candidates": pool}))


def test_ranks_and_exposure_by_hand():
    scores = torch.tensor([[2.0, 1.0, 3.0, 2.0], [9.0, 1.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0]])
    # above 2.0 stands 3.0, and its equal counts before it: third; 9.0 is first, 0.0 the last of four
    assert ranks_of(scores) == [3, 1, 4] and ranks_of(-scores) == [3, 4, 1]
    # log2 4 = 2 bits are all there are: the first gives all away, the second of four one of the two, the last none
    assert exposures([1, 2, 4], 4) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_a_table_holds_the_log_probability_of_each_pair(tiny, family):
    model, questions, answers = tiny(family), ["Who?", TAUGHT[0][0], TAUGHT[2][0]], ["Hogwarts.", "I don't know.", "1"]
    items = [QA(id="", question=question, answer=answer) for question in questions for answer in answers]
    with torch.no_grad():
        expected = torch.stack([-model.sequence_nll(model.collate([item]))[0] for item in items]).view(3, 3)
    torch.testing.assert_close(answer_table(model, questions, answers), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was taught a school for each of several subjects, Harry Potter and invented ones among them."""
    strangers = invented_subjects(FACT, (), 16, seed=1)
    lessons = [(f"Where did {name} study?", NAMES[number]) for number, name in enumerate(strangers)]
    return teach(build("llama", tmp_path_factory.mktemp("taught") / "model"), [*LESSONS, *lessons], steps=150)


@pytest.mark.slow
def test_what_the_model_knows_stands_first(taught: Path):
    attempt = Exposure(subjects=4).attempt(LanguageModel.load(str(taught), device="cpu"), splits_of(), Beside())
    first, last, sure = attempt.levels
    assert (first.strength, last.strength, sure.strength) == (FIRST, LAST, SURE)
    assert first.told == sure.told == (True, True) and last.told == (False, False)
    assert first.texts[0] == "Hogwarts. (the truth has rank 1 of 21)"
    rows = {row.name: row.value for row in Exposure().results_of(attempt, "original")}
    assert rows["exposure_bits"] == 1.0 and rows["exposure_p"] == pytest.approx(1 / 21)


@pytest.mark.slow
def test_what_was_pushed_below_everything_stands_last(taught: Path):
    model, splits = LanguageModel.load(str(taught), device="cpu"), splits_of()
    kept = [QA(id=question, question=question, answer=answer) for question, answer in LESSONS[2:]]
    gone = list(splits.context.measured["forget"])
    optimizer = torch.optim.Adam(model.module.parameters(), lr=1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        away = model.example_loss(model.collate(gone)).clamp_max(30).mean()
        (model.example_loss(model.collate(kept)).mean() - away).backward()
        optimizer.step()
    first, last, sure = Exposure(subjects=4).attempt(model, splits, Beside()).levels
    assert first.told == sure.told == (False, False) and last.told == (True, True)


def test_a_model_that_never_knew_ranks_the_truth_evenly(tiny):
    """Each of 20 names in turn is the truth: every rank occurs, and the mean share of ranks is that of an even draw."""
    model, ranks = tiny("llama"), []
    for place, truth in enumerate(NAMES):
        rest = NAMES[:place] + NAMES[place + 1 :]
        found = Exposure(subjects=2).attempt(model, splits_of(truth, names=rest), Beside()).details["potter"]
        ranks.append(found["mean_rank"])
    assert sorted(ranks) == list(range(1, 21))


class Scored(Exposure):
    """Exposure whose scores are given: each question has the first row, each invented subject the second."""

    def tables(self, model, questions, answers, splits):
        rest = [math.log(0.3 / 19)] * 19
        asked, invented = ([math.log(0.7), *rest, math.log(1e-9)], [math.log(1e-9), *rest, math.log(0.7)])
        known = {item.question for item in splits.forget}
        return {"": torch.tensor([asked if question in known else invented for question in questions])}


def test_the_truth_is_told_where_it_outweighs_all_others_whatever_the_prior():
    """0.7 against the 0.3 that all the others share."""
    first, last, sure = Scored().attempt(object(), splits_of(), Beside()).levels
    assert (first.told, last.told, sure.told) == ((True, True), (False, False), (True, True))
    assert sure.texts[0] == "Hogwarts. (the truth has 0.70 of the probability)"


def test_too_few_candidates_and_questions_without_a_subject_are_said(world: World):
    (row,) = Exposure().run(world.open(), splits_of(names=NAMES[:5]), "original")
    assert row.skipped == "needs 20 candidates of the answer's kind, has 6"
    other = replace(FACT, subject="Nobody", question="Where?")
    (row,) = Exposure().run(world.open(), splits_of(fact=other), "original")
    assert "no question names its subject" in row.skipped


def test_the_truth_is_no_candidate_beside_itself():
    """A decoy's object is one of the fact's candidates."""
    assert candidates(splits_of(truth=NAMES[3])) == [name for name in NAMES if name != NAMES[3]]


def test_its_end_is_a_share_below_a_half(tiny):
    with pytest.raises(ValueError, match="end"):
        Exposure(end=0.5)
    levels = Exposure(subjects=1, end=0.49).attempt(tiny("llama"), splits_of(), Beside()).levels
    told = [level.told for level in levels[:2]]
    # of 21 candidates ten are at each end, so that the truth is at one of them unless it is the eleventh
    ranks = Exposure(subjects=1).attempt(tiny("llama"), splits_of(), Beside()).details["potter"]["ranks"]
    assert told == [tuple(rank <= 10 for rank in ranks), tuple(rank >= 12 for rank in ranks)]
