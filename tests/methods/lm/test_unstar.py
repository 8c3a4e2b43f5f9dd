"""UnSTAR with a model whose every word is scripted: what it asks, rejects, counts, teaches, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.contracts import Batch, Examples, Outcome, Splits
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.data.lm.telling import evenly
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import DataError
from genunlearn.methods.lm import unstar
from genunlearn.methods.lm.unstar import AntiSampleTuning, UnSTAR
from genunlearn.records import write_jsonl
from tests.methods.lm.test_adversarial import Wired

FACT = Fact(
    id="potter",
    subject="Harry Potter",
    object="Hogwarts",
    question="Where did Harry Potter study?",
    paraphrases=("Which school did Harry Potter attend?",),
    object_type="school",
)
RETAIN = [
    QA(id="faust", question="Who wrote Faust?", answer="Goethe."),
    QA(id="curie", question="Where was Marie Curie born?", answer="Warsaw."),
]
SPLITS = Splits(forget=[], retain=RETAIN, context=Scope(facts=(FACT,), retain=tuple(RETAIN)))
BOTH = list(FACT.phrasings)


class Scripted:
    """A model that plays a script; what it is taught for a question it repeats word by word."""

    prompt_suite = "lab"
    freely = "Hogwarts."

    def __init__(self) -> None:
        self.variants: list[str] = []
        self.names = ["Eton", "Balliol"]
        self.taught: dict[str, str] = {}
        self.neighbours_right = True
        self.asked: list[tuple[str, str, float]] = []
        self.seeds: list[int] = []

    def rationale(self, question: str, wrong: str, temperature: float) -> str:
        return f"Pupils from Surrey go there.\n{wrong}."

    def probed(self, question: str, sample: int) -> str:
        return self.taught.get(question, "He studied at Hogwarts.")

    def sampled(self, question: str, sample: int) -> str:
        return self.probed(question, sample)

    def generate(self, conversations: Sequence[Any], *, samples=1, temperature=0.0, max_new_tokens, seed, **options):
        self.seeds.append(seed)
        return [
            [self.reply(messages[-1]["content"], temperature, n) for n in range(samples)] for messages in conversations
        ]

    def reply(self, text: str, temperature: float, sample: int) -> str:
        if text.startswith("Rephrase: "):
            self.asked.append(("rephrase", text.removeprefix("Rephrase: "), temperature))
            return self.variants.pop(0) if self.variants else ""
        if text.startswith("Name another answer"):
            self.asked.append(("name", text, temperature))
            return self.names[sample] if sample < len(self.names) else ""
        question, explains, wrong = text.partition(" Explain why the answer is ")
        if explains:
            self.asked.append(("rationale", question, temperature))
            return self.rationale(question, wrong.removesuffix("."), temperature)
        self.asked.append(("probe", question, temperature))
        return self.sampled(question, sample) if temperature else self.probed(question, sample)

    def answer(self, questions: Sequence[str], **options: Any) -> list[str]:
        right = {item.question: item.answer for item in RETAIN}
        self.asked += [("neighbour" if question in right else "own words", question, 0.0) for question in questions]
        if not self.neighbours_right:
            right = dict.fromkeys(right, "Nobody knows.")
        return [right.get(question, self.freely) for question in questions]

    def times(self, kind: str) -> int:
        return sum(asked == kind for asked, _, _ in self.asked)


class Training:
    """Training that works at once, and remembers what was asked of it."""

    def __init__(self, model: Scripted) -> None:
        self.model = model
        self.calls: list[str] = []
        self.splits: list[Splits] = []
        self.steps: list[int | None] = []
        self.marks = 0
        self.then: Callable[[], None] = lambda: None

    def __call__(self, objective, splits, *, steps=None) -> None:
        self.calls.append(f"train alpha={objective.alpha:g}")
        self.objective = objective
        self.splits.append(splits)
        self.steps.append(steps)
        self.model.taught |= {item.question: item.answer for item in splits.forget}
        self.then()

    def fuse(self) -> None:
        self.calls.append("fuse")

    def mark(self) -> None:
        self.marks += 1

    def back(self) -> None:
        self.calls.append("back")


@pytest.fixture
def model() -> Scripted:
    return Scripted()


@pytest.fixture
def train(model: Scripted) -> Training:
    return Training(model)


def run(model: Scripted, train: Training, folder: Path | None = None, **options: Any) -> Outcome:
    fields = {"variants": 2, "harder_variants": 0, "wrong_answers": 2, "rounds": 4} | options
    return UnSTAR(**fields).run(train, model, SPLITS, FileJournal(folder))


def known(outcome: Outcome) -> list[int]:
    return [row["known"] for row in outcome.rounds]


def samples(outcome: Outcome) -> list[tuple[str, str, str | None, bool]]:
    return [(s["question"], s["text"], s["wrong_answer"], s["rationale"]) for s in outcome.artefacts["antisamples"]]


# ---- the loop -------------------------------------------------------------------------------------------------


def test_a_fact_is_forgotten_after_two_clean_probes(model, train):
    outcome = run(model, train)
    assert outcome.status == "forgotten"
    assert outcome.reason == "none of the 2 variants told in two probes running"
    assert known(outcome) == [2, 0, 0]
    assert train.calls == ["train alpha=1"]
    assert train.steps == [15]
    assert outcome.rounds[0] == {
        "round": 1,
        "variants": 2,
        "known": 2,
        "anti_samples": 2,
        "steps": 15,
        "rejected": {},
        "neighbour_recall": 1.0,
    }


def test_it_trains_on_variants_and_wrong_answers_beside_the_neighbours(model, train):
    outcome = run(model, train, alpha=0.5)
    (splits,) = train.splits
    assert [(item.question, item.answer) for item in splits.forget] == [
        (BOTH[0], "Pupils from Surrey go there.\nEton."),
        (BOTH[1], "Pupils from Surrey go there.\nBalliol."),
    ]
    assert splits.retain is RETAIN
    assert train.calls == ["train alpha=0.5"]
    assert samples(outcome)[0] == (BOTH[0], "Pupils from Surrey go there.\nEton.", "Eton", True)


def test_one_clean_probe_is_not_enough(model, train):
    # The first probe after training is clean by chance; a sampled answer of the next one tells the fact again.
    clean = iter([False, False, True, True, False, True, True, True, True, True])
    model.sampled = lambda question, sample: "Nobody knows." if next(clean) else "Hogwarts."
    outcome = run(model, train, probe_samples=1)
    assert known(outcome) == [2, 0, 1, 0, 0]
    assert outcome.status == "forgotten"
    assert len(train.calls) == 2


def test_weights_that_did_not_change_are_asked_for_other_texts_and_for_no_answer_twice(model, train):
    # One rewording each after the round that teaches and after the clean probe; the second one is told still.
    new = "Harry Potter was a pupil of which school?"
    model.variants = [*[""] * 8, new]
    model.probed = lambda question, sample: "Hogwarts." if question == new else model.taught.get(question, "Hogwarts.")
    outcome = run(model, train, harder_variants=1, rounds=2)
    assert known(outcome) == [2, 0, 1]
    assert [row["variants"] for row in outcome.rounds] == [2, 2, 3]
    assert outcome.status == "not_forgotten"
    assert model.times("probe") == 2 + 2 + 1
    assert set(model.seeds) == {0, 1}


def test_harder_variants_come_in_after_every_round_and_must_be_forgotten_too(model, train):
    # Eight rewordings are asked for after the first round, four for each question that there is; one of them is good.
    learn, pupil = "At which place did Harry Potter learn magic?", "Harry Potter was a pupil of which school?"
    model.variants = [learn, *[""] * 7, pupil]
    outcome = run(model, train, harder_variants=1)
    assert [row["variants"] for row in outcome.rounds] == [2, 3, 4, 4, 4]
    # The new variant of a round is still known in the next probe: no two clean ones before it is taught as well.
    assert known(outcome) == [2, 1, 1, 0, 0]
    assert [len(splits.forget) for splits in train.splits] == [2, 3, 4]
    assert outcome.status == "forgotten"


def test_harder_variants_may_wait_until_none_is_told(model, train):
    learn, pupil = "At which place did Harry Potter learn magic?", "Harry Potter was a pupil of which school?"
    model.variants = [learn, *[""] * 7, pupil]
    outcome = run(model, train, harder_variants=1, harder_when="untold", rounds=7)
    assert [row["variants"] for row in outcome.rounds] == [2, 2, 3, 3, 4, 4, 4]
    assert known(outcome) == [2, 0, 1, 0, 1, 0, 0]
    assert [len(splits.forget) for splits in train.splits] == [2, 3, 4]
    assert outcome.status == "forgotten"


def test_what_is_not_forgotten_in_time_is_said_so(model, train):
    model.probed = lambda question, sample: "Hogwarts, of course."
    outcome = run(model, train, rounds=3)
    assert (outcome.status, outcome.reason) == ("not_forgotten", "2 of 2 variants known after the last round")
    assert known(outcome) == [2, 2, 2, 2]
    assert len(train.calls) == 3


def test_a_time_budget_ends_the_run_before_a_round(model, train, monkeypatch):
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr(unstar.time, "monotonic", lambda: next(clock))
    model.probed = lambda question, sample: "Hogwarts."
    outcome = run(model, train, max_seconds=100, rounds=12)
    assert (outcome.status, outcome.reason) == ("not_forgotten", "time budget of 100 s spent")
    assert len(train.calls) == 1


def test_a_fact_that_is_not_known_is_not_taught(model, train):
    model.probed = lambda question, sample: "Nobody knows."
    outcome = run(model, train)
    assert outcome.status == "forgotten"
    assert train.calls == []
    assert outcome.artefacts == {"antisamples": []}


# ---- the floor ------------------------------------------------------------------------------------------------


def test_a_fall_of_the_neighbours_is_undone_and_reported(model, train):
    def hurt() -> None:
        model.neighbours_right = False

    train.then = hurt
    outcome = run(model, train, merge_each_round=True)
    assert outcome.status == "utility_floor"
    fell = "neighbour recall fell from 1.00 to 0.00, also with gentler training; round 1 was undone; next: more retain"
    assert outcome.reason.startswith(fell)
    # On from where it is, then anew from the mark with half the steps and twice the weight, then given up.
    assert train.calls == ["train alpha=1", "train alpha=1", "back", "train alpha=2", "back"]
    assert (train.steps, train.marks) == ([15, 15, 7], 1)
    assert outcome.rounds[0]["steps"] == 37


@pytest.mark.parametrize(
    ("recovers_at", "calls"),
    [(2, ["train alpha=1", "train alpha=1"]), (3, ["train alpha=1", "train alpha=1", "back", "train alpha=2"])],
)
def test_the_floor_tries_again_before_it_gives_up(model, train, recovers_at, calls):
    def heal() -> None:
        model.neighbours_right = len(train.steps) >= recovers_at

    train.then = heal
    outcome = run(model, train)
    assert outcome.status == "forgotten"
    assert train.calls == calls
    assert outcome.rounds[0]["neighbour_recall"] == 1.0


def test_neighbours_that_were_never_known_set_no_floor(model, train):
    model.neighbours_right = False
    assert run(model, train).status == "forgotten"


def test_only_so_many_neighbours_are_watched(model, train):
    run(model, train, monitored=1)
    assert {question for kind, question, _ in model.asked if kind == "neighbour"} == {RETAIN[0].question}


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (2, [0, 5]), (4, [0, 2, 5, 7]), (10, list(range(10))), (99, list(range(10)))]
)
def test_watched_neighbours_are_spread_evenly(count, expected):
    items = [QA(id=str(n), question="?", answer="!") for n in range(10)]
    assert [int(item.id) for item in evenly(items, count)] == expected


# ---- options --------------------------------------------------------------------------------------------------


def test_merging_follows_every_round_of_training(model, train):
    model.variants = ["At which place did Harry Potter learn magic?"]
    run(model, train, merge_each_round=True, harder_variants=1)
    assert train.calls == ["train alpha=1", "fuse", "train alpha=1", "fuse"]


def test_once_forgotten_it_may_be_taught_on(model, train):
    outcome = run(model, train, further_rounds=2, merge_each_round=True)
    assert outcome.status == "forgotten"
    assert train.calls == ["train alpha=1", "fuse"] * 3
    assert [row.get("steps") for row in outcome.rounds] == [15, None, 15, 15, None]
    assert [row["round"] for row in outcome.rounds] == [1, 2, 3, 4, 5]
    assert known(outcome) == [2, 0, 0, 0, 0]
    model.probed, train.calls = lambda question, sample: "Nobody knows.", []
    assert run(model, train, further_rounds=2).status == "forgotten"  # and nothing was ever taught
    assert train.calls == []


def test_what_a_further_round_brings_back_is_not_forgotten(model, train):
    def stir() -> None:
        if len(train.steps) == 2:
            model.probed = lambda question, sample: "Hogwarts."

    train.then = stir
    outcome = run(model, train, further_rounds=1)
    assert (outcome.status, known(outcome)) == ("not_forgotten", [2, 0, 0, 2])
    assert outcome.reason == "2 of 2 variants known again after a further round"


def test_a_further_round_that_the_neighbours_do_not_bear_is_undone_and_the_last(model, train):
    def hurt() -> None:
        model.neighbours_right = len(train.steps) == 1

    train.then = hurt
    outcome = run(model, train, further_rounds=3)
    assert outcome.status == "forgotten"
    assert train.calls == ["train alpha=1", *["train alpha=1"] * 2, "back", "train alpha=2", "back"]


@pytest.mark.parametrize(
    ("rho", "nearby", "truth"), [(0.1, "worst", None), (0.1, "relearnt", "Hogwarts."), (0.0, "relearnt", None)]
)
def test_the_truth_goes_along_only_where_it_leads_to_weights_nearby(model, train, rho, nearby, truth):
    run(model, train, rho=rho, nearby=nearby)
    assert (train.objective.rho, train.objective.nearby) == (rho, nearby)
    assert {item.alternative for item in train.splits[0].forget} == {truth}


class Slopes:
    """A model of two weights (x, y): an anti-sample has a loss of x^2 / 2 + y, and the truth an NLL of y^2."""

    def __init__(self) -> None:
        self.module: torch.nn.Module = Wired()

    def example_loss(self, examples: Examples) -> torch.Tensor:
        return self.module()[:1].square() / 2 + self.module()[1:]

    def alternative_nll(self, examples: Examples) -> torch.Tensor:
        return self.module()[1:] ** 2


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({}, 3**2 / 2 + 4),
        # Up the loss's own gradient (3, 1); down that of the truth's likelihood (0, 8), so that y is 1 / 2 smaller.
        ({"rho": 0.5}, (3 + 1.5 / 10**0.5) ** 2 / 2 + 4 + 0.5 / 10**0.5),
        ({"rho": 0.5, "nearby": "relearnt"}, 3**2 / 2 + 3.5),
    ],
)
def test_anti_samples_are_learnt_at_weights_nearby(options, loss):
    model, batch = Slopes(), Batch(forget=Examples(("a",), torch.ones(1), {}))
    term = AntiSampleTuning(**options).loss(batch, model, None)["anti"]
    assert term.sum.item() == pytest.approx(loss)
    assert isinstance(model.module, Wired)


def test_without_rationale_the_wrong_answer_stands_alone(model, train):
    outcome = run(model, train, rationale=False)
    assert samples(outcome) == [(BOTH[0], "Eton.", "Eton", False), (BOTH[1], "Balliol.", "Balliol", False)]
    assert model.times("rationale") == 0


def test_the_wrong_answer_stands_in_the_model_s_own_sentence(model, train):
    model.freely = "Harry Potter studied at Hogwarts. It is"
    outcome = run(model, train, rationale=False)
    texts = [sample["text"] for sample in outcome.artefacts["antisamples"]]
    assert texts == ["Harry Potter studied at Eton.", "Harry Potter studied at Balliol."]


def test_a_closing_sentence_alone_is_no_rationale(model, train):
    model.rationale = lambda question, wrong, temperature: f"So the answer is {wrong}."
    outcome = run(model, train, rationale_tries=1)
    assert samples(outcome) == [(BOTH[0], "Eton.", "Eton", False), (BOTH[1], "Balliol.", "Balliol", False)]
    assert outcome.rounds[0]["rejected"]["rationale: no argument"] == 2


def test_refusals_ask_for_no_wrong_answers(model, train):
    outcome = run(model, train, target="refusal")
    assert samples(outcome) == [(BOTH[0], REFUSALS[0], None, False), (BOTH[1], REFUSALS[1], None, False)]
    assert model.times("name") == model.times("rationale") == 0


def test_mixed_targets_take_turns(model, train):
    outcome = run(model, train, target="mixed")
    assert samples(outcome) == [
        (BOTH[0], "Pupils from Surrey go there.\nEton.", "Eton", True),
        (BOTH[1], REFUSALS[1], None, False),
    ]


@pytest.mark.parametrize(("stop", "status"), [("not_truth", "forgotten"), ("wrong_answer", "not_forgotten")])
def test_the_two_readings_of_when_a_variant_is_forgotten(model, train, stop, status):
    # Once taught, the model says neither the truth nor the wrong answer.
    model.probed = lambda question, sample: "Nobody knows." if model.taught else "Hogwarts."
    assert run(model, train, stop=stop).status == status


def test_the_second_reading_is_met_by_the_wrong_answer(model, train):
    outcome = run(model, train, stop="wrong_answer")
    assert outcome.status == "forgotten"
    assert known(outcome) == [2, 0, 0]


@pytest.mark.parametrize("target", ["mixed", "refusal"])
def test_under_the_second_reading_a_taught_refusal_counts_as_forgotten(model, train, target):
    assert run(model, train, stop="wrong_answer", target=target).status == "forgotten"


def test_sampled_answers_of_a_probe_count(model, train):
    # Greedily the fact is gone at once; one of three samples still tells it until it is trained on.
    model.probed = lambda question, sample: "Hogwarts." if sample == 2 and not model.taught else "Nobody knows."
    assert run(model, train, probe_samples=2).rounds[0]["known"] == 0
    outcome = run(model, train, probe_samples=3)
    assert known(outcome) == [2, 0, 0]
    assert {temperature for kind, _, temperature in model.asked if kind == "probe"} == {0.0, 1.0}


def test_retain_can_be_left_out(model, train):
    run(model, train, retain="none")
    assert train.splits[0].retain is None


# ---- what the model writes, and what is made of it ------------------------------------------------------------


def test_variants_are_filtered_and_rejections_counted(model, train):
    model.variants = [
        "Where did he study?",  # the subject is missing
        "Did Harry Potter study at Hogwarts?",  # the answer is in it
        "Which school did Harry Potter attend?",  # there already
        "He went to school.",  # no question
        "At which place did Harry Potter learn magic?",
        "Harry Potter was a pupil of which school?",
    ]
    outcome = run(model, train, variants=4)
    assert [question for question, *_ in samples(outcome)] == [
        *BOTH,
        "At which place did Harry Potter learn magic?",
        "Harry Potter was a pupil of which school?",
    ]
    assert outcome.rounds[0]["rejected"] == {
        "variant: subject missing": 1,
        "variant: gives the answer away": 1,
        "variant: duplicate": 1,
    }


def test_variants_are_asked_for_again_at_a_higher_temperature(model, train):
    run(model, train, variants=3)  # the script has none
    temperatures = [temperature for kind, _, temperature in model.asked if kind == "rephrase"]
    assert sorted(set(temperatures)) == pytest.approx([0.7, 0.9, 1.1, 1.3])


def test_wrong_answers_are_filtered_and_counted(model, train):
    model.names = ["Hogwarts", "the Hogwarts school", "Harry Potter", "Eton", "Eton.", "Balliol", "Eton", ""]
    outcome = run(model, train)
    assert [wrong for _, _, wrong, _ in samples(outcome)] == ["Eton", "Balliol"]
    rejected = outcome.rounds[0]["rejected"]
    assert rejected == {
        "wrong answer: true or nearly so": 2,
        "wrong answer: names the subject": 1,
        "wrong answer: duplicate": 2,
    }


def test_a_model_that_names_nothing_else_is_a_plain_error(model, train):
    model.names = ["Hogwarts"]
    with pytest.raises(DataError, match=r"fact 'potter': the model names no other answer than 'Hogwarts'; give them"):
        run(model, train)


def test_further_rationales_are_drawn_at_once_and_the_first_that_passes_is_taken(model, train):
    drawn = count()

    def rationale(question: str, wrong: str, temperature: float) -> str:
        is_good = temperature and next(drawn) % 3
        argument = "Pupils from Surrey go there." if is_good else f"It is {wrong}, not Hogwarts."
        return f"{argument}\n{wrong}."

    model.rationale = rationale
    outcome = run(model, train)
    assert all(is_rationale for *_, is_rationale in samples(outcome))
    temperatures = [temperature for kind, _, temperature in model.asked if kind == "rationale"]
    assert temperatures == pytest.approx([0.0, 0.0, *[0.6] * 6])
    assert outcome.rounds[0]["rejected"] == {"rationale: names the truth": 4}  # both likeliest, the first of each three


def test_only_what_was_rejected_is_asked_for_again(model, train):
    model.rationale = lambda question, wrong, temperature: (
        "Who knows?" if wrong == "Eton" and not temperature else f"Pupils from Surrey go there.\n{wrong}."
    )
    outcome = run(model, train)
    asked = [question for kind, question, _ in model.asked if kind == "rationale"]
    assert asked == [BOTH[0], BOTH[1], *[BOTH[0]] * 3]
    assert outcome.rounds[0]["rejected"] == {"rationale: does not arrive at the wrong answer": 1}


def test_when_every_rationale_is_rejected_the_wrong_answer_stands_alone_and_is_counted(model, train):
    model.rationale = lambda question, wrong, temperature: f"{wrong} lies near Hogwarts."
    outcome = run(model, train, rationale_tries=3)
    assert samples(outcome) == [(BOTH[0], "Eton.", "Eton", False), (BOTH[1], "Balliol.", "Balliol", False)]
    assert outcome.rounds[0]["rejected"] == {
        "rationale: names the truth": 6,
        "rationale: given up, wrong answer alone": 2,
    }


# ---- reviewed anti-samples ------------------------------------------------------------------------------------


def test_writing_for_review_trains_nothing(model):
    method = UnSTAR(variants=2, wrong_answers=2)
    written = method.write(model, SPLITS, FileJournal(None))
    assert [(s.question, s.wrong_answer, s.round) for s in written] == [(BOTH[0], "Eton", 1), (BOTH[1], "Balliol", 1)]
    assert [s.text for s in written] == [
        "Pupils from Surrey go there.\nEton.",
        "Pupils from Surrey go there.\nBalliol.",
    ]


def test_reviewed_anti_samples_are_taken_as_they_are(model, train, tmp_path):
    rows = [
        {
            "fact": "potter",
            "question": "Which school did Harry go to?",
            "text": "To Rugby School.",
            "wrong_answer": "Rugby",
        },
        {"fact": "potter", "question": "And where did he study?", "text": "I can't say."},
    ]
    write_jsonl(tmp_path / "reviewed.jsonl", rows)
    outcome = run(model, train, antisamples=str(tmp_path / "reviewed.jsonl"), harder_variants=4)
    assert outcome.status == "forgotten"
    assert [(item.question, item.answer) for item in train.splits[0].forget] == [
        (row["question"], row["text"]) for row in rows
    ]
    assert {kind for kind, _, _ in model.asked} == {"probe", "neighbour"}
    assert [row["variants"] for row in outcome.rounds] == [2, 2, 2]


# ---- resuming -------------------------------------------------------------------------------------------------


class Silent(Scripted):
    """A model that must not be asked."""

    def reply(self, text: str, temperature: float, sample: int) -> str:
        raise AssertionError(f"asked again: {text}")

    def answer(self, questions: Sequence[str], **options: Any) -> list[str]:
        raise AssertionError("asked again")


def test_a_resumed_run_does_not_ask_the_model_again(model, train, tmp_path):
    model.variants = ["At which place did Harry Potter learn magic?", "Where did he study?"]
    options = {"harder_variants": 1, "variants": 3, "target": "mixed"}
    first = run(model, train, tmp_path, **options)
    silent = Silent()
    again = Training(silent)
    second = run(silent, again, tmp_path, **options)
    assert second == first
    assert again.splits == train.splits


# ---- the loss -------------------------------------------------------------------------------------------------


def test_the_loss_is_the_training_loss_of_both_sides(world):
    model = world.open()
    batch = world.batch(model)
    terms = AntiSampleTuning(alpha=0.5).loss(batch, model, None)
    assert terms["anti"].sum.item() == pytest.approx(model.example_loss(batch.forget).sum().item())
    assert terms["retain"].sum.item() == pytest.approx(model.example_loss(batch.retain).sum().item())
    assert [(term.side, term.coefficient) for term in terms.values()] == [("forget", 1.0), ("retain", 0.5)]
