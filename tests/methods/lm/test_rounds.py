"""Protocols that train in rounds: their targets worked by hand, and when they end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Batch, Examples, Splits, with_sides
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.engine import parameters
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, DataError
from genunlearn.methods.lm import alt_po
from genunlearn.methods.lm.alt_po import AltPO, PreferenceTuning
from genunlearn.methods.lm.base.rounds import TargetTuning, answer_logits, write_places
from genunlearn.methods.lm.base.subjects import renamed, renamed_logits
from genunlearn.methods.lm.elm import ELM
from genunlearn.methods.lm.pdu import PDU, Flattening
from genunlearn.methods.lm.rwhp import RWHP, mean_prediction
from genunlearn.methods.lm.task_vector import TaskVector
from genunlearn.methods.lm.whp import WHP, generic_prediction
from genunlearn.ops.logprobs import IGNORE
from tests.methods.lm.fake import Fake, logits_of

LOG2 = math.log(2)
FACT = Fact(id="potter", subject="Harry Potter", object="Hogwarts", question="Where did Harry Potter study?")


def forget(objective: Any, model: Any) -> float:
    return objective.loss(Batch(forget=model.examples()), model, None)["forget"].sum.item()


class Untrained:
    """A loop that trains nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Splits, int | None]] = []
        self.marks = self.backs = 0

    def __call__(self, objective: Any, splits: Splits, *, steps: int | None = None, learning_rate: Any = None) -> None:
        self.calls.append((objective, splits, steps))

    def fuse(self) -> None:
        raise AssertionError("nothing is fused")

    def mark(self) -> None:
        self.marks += 1

    def back(self) -> None:
        self.backs += 1


# ---- targets that were written down ---------------------------------------------------------------------------


def test_places_keep_the_likeliest_tokens_and_their_shares():
    # 0.5 and 0.3 of 0.8; a place of zeros does not count.
    places = write_places(torch.tensor([[0.3, 0.2, 0.5], [0.0, 0.0, 0.0]]), top=2)
    (ids, shares), nothing = places
    assert ids == [2, 0]
    assert shares == pytest.approx([5 / 8, 3 / 8])
    assert nothing == ([], [])


def test_target_tuning_by_hand():
    # Two places of (1/2, 1/4, 1/4): the first counts for token 0 alone, log 2; the second half for token 1 and half
    # for token 2, 2 log 2. The other answer has one token and no target.
    model = Fake(logits_of([[0.5, 0.25, 0.25]] * 2, [[0.5, 0.25, 0.25]] * 2), [[0, 0], [IGNORE, 0]])
    targets = {"0": [([0], [1.0]), ([1, 2], [0.5, 0.5])], "1": [([], [])]}
    assert forget(TargetTuning(targets=targets, alpha=1.0), model) == pytest.approx(1.5 * LOG2)


def test_answers_end_in_the_last_column_of_a_target():
    model = Fake(logits_of([[1e-9, 1.0], [0.25, 0.75]]), [[IGNORE, 0]])
    assert forget(TargetTuning(targets={"0": [([0], [1.0])]}, alpha=0.0), model) == pytest.approx(2 * LOG2)


def test_generic_tokens_by_hand():
    # v_other - 2 ReLU(v_reinforced - v_other): (3, 2) - 2 (1, 0) = (1, 2): the runner-up wins.
    generic = generic_prediction(torch.tensor([[3.0, 2.0]]), torch.tensor([[4.0, 1.0]]), 2.0)
    assert generic.tolist() == [[0.0, 1.0]]


def test_generic_tokens_without_reinforcement_are_those_of_the_other_name():
    assert generic_prediction(torch.tensor([[3.0, 2.0]]), torch.tensor([[9.0, 0.0]]), 0.0).tolist() == [[1.0, 0.0]]


def test_a_place_without_counterpart_has_no_generic_token():
    assert generic_prediction(torch.full((1, 2), torch.nan), torch.ones(1, 2), 5.0).tolist() == [[0.0, 0.0]]


def test_the_mean_is_of_probabilities_over_the_names_that_have_the_place():
    logits = logits_of([[0.5, 0.5], [0.2, 0.8]], [[0.1, 0.9], [math.nan, math.nan]])
    assert mean_prediction(logits).flatten().tolist() == pytest.approx([0.3, 0.7, 0.2, 0.8])


def test_the_edited_distribution_of_elm_by_hand():
    # p (novice / expert)^1 = (0.5 * 1/2, 0.3 * 2) = (0.25, 0.6) over the two likeliest: (5, 12) / 17.
    logits, novice, expert = (logits_of([[*row]])[0] for row in ((0.5, 0.3, 0.2), (0.2, 0.6, 0.2), (0.4, 0.3, 0.3)))
    target = ELM(eta=1, temperature=1, top=2).target(logits, novice, expert)
    assert target[0].tolist() == pytest.approx([5 / 17, 12 / 17, 0])


def test_elm_without_preference_has_the_original_as_its_target():
    logits = logits_of([[0.5, 0.3, 0.2]])[0]
    assert ELM(temperature=1).target(logits, logits, logits)[0].tolist() == pytest.approx([0.5, 0.3, 0.2])


def test_a_question_to_an_expert_that_cannot_be_filled_in_is_refused(world):
    with pytest.raises(ConfigError, match=r"'\{topic\}': 'topic' cannot be filled in: use \{subject\}, \{object\}"):
        ELM(expert="{topic}").run(Untrained(), world.open(), world.splits, FileJournal(None))


# ---- other names ----------------------------------------------------------------------------------------------


def test_a_question_is_asked_about_another(world):
    item = QA(id="q", question="Where did Harry Potter study?", answer="Harry Potter went to Hogwarts.")
    other = renamed(item, FACT, "Marie Curie")
    assert (other.question, other.answer) == ("Where did Marie Curie study?", "Marie Curie went to Hogwarts.")


def test_a_question_that_does_not_name_the_subject_is_refused():
    with pytest.raises(DataError, match="does not name 'Harry Potter': add the name as a subject alias"):
        renamed(QA(id="q", question="Where did he study?", answer="Hogwarts."), FACT, "Marie Curie")


def test_predictions_about_another_are_those_of_the_question_about_them(world):
    model, item = world.open(), world.splits.forget[0]
    (ours,) = renamed_logits(model, item, FACT, ["Marie Curie"])
    (asked,) = answer_logits(model, [replace(item, question="Where did Marie Curie study?")])
    assert torch.equal(ours, asked)


def test_the_places_of_the_name_itself_are_left_out(world):
    model = world.open()
    item = QA(
        id="q", question="Where did Harry Potter study?", answer="Harry Potter studied at Hogwarts.", fact="potter"
    )
    (ours,) = renamed_logits(model, item, FACT, ["Goethe"])
    (asked,) = answer_logits(model, [renamed(item, FACT, "Goethe")])
    left_out = ours.isnan().all(-1)
    assert left_out[0]
    assert not left_out[-3:].any()
    assert torch.equal(ours[-3:], asked[-3:])
    assert len(ours) == len(model.encode(item.question, item.answer)[1])


def test_a_question_of_no_fact_is_refused(world):
    alone = with_sides(world.splits, [replace(world.splits.forget[0], fact=None)], None)
    for method in (RWHP(names=("Goethe",)), WHP(names=("Goethe",)), AltPO(answers=("Goethe",))):
        with pytest.raises(DataError, match="belongs to no fact of the request"):
            method.run(Untrained(), world.open(), alone, FileJournal(None))


def test_the_reinforcement_of_whp_is_undone_before_the_generic_tokens_are_taught(world):
    train = Untrained()
    WHP(names=("Goethe",), rounds=2, reinforce_steps=7).run(train, world.open(), world.splits, FileJournal(None))
    assert (train.marks, train.backs) == (3, 2), "all but the first mark and back are those of the rounds"
    reinforce, *taught = train.calls
    assert (list(reinforce[1].retain), list(reinforce[1].forget), reinforce[2]) == (world.splits.forget, [], 7)
    assert [type(objective) for objective, *_ in taught] == [TargetTuning] * 2


# ---- preferences ----------------------------------------------------------------------------------------------


def test_preference_against_written_scores_by_hand():
    # The truth fell from NLL 1 to 2 (log-probability 1 lower), the other rose from 4 to 1: the margin is 3 + 1 = 4.
    # beta = 1/4: -(2 / beta) log sigma(1) = 8 log(1 + 1/e).
    class Scored:
        def sequence_nll(self, examples: Examples) -> torch.Tensor:
            return torch.tensor([2.0])

        def alternative_nll(self, examples: Examples) -> torch.Tensor:
            return torch.tensor([1.0])

    objective = PreferenceTuning(scores={"a": [1.0, 4.0]}, beta=0.25, alpha=1.0)
    terms = objective.loss(Batch(forget=Examples(("a",), torch.ones(1), {})), Scored(), None)
    assert terms["forget"].sum.item() == pytest.approx(8 * math.log(1 + 1 / math.e))


def test_every_question_is_paired_with_every_other_answer(world):
    train = Untrained()
    AltPO(answers=("Goethe", "Warsaw"), rounds=1).run(train, world.open(), world.splits, FileJournal(None))
    ((objective, given, _),) = train.calls
    assert [item.alternative for item in given.forget] == ["Goethe.", "Warsaw."] * 2
    assert objective.scores.keys() == {item.id for item in given.forget}
    # Against its own scores, the model's margin is 0 on every pair.
    model = world.open()
    terms = objective.loss(Batch(forget=model.collate(given.forget)), model, None)
    assert terms["forget"].sum.item() == pytest.approx(4 * 2 / objective.beta * LOG2, rel=1e-4)


# ---- the bound ------------------------------------------------------------------------------------------------


def test_flattening_by_hand():
    # Logits (3, 0, 0) and (0, 0, 6) have margins 3 - 1 = 2 and 6 - 2 = 4: (4 + 16) / 2; the other answer has 2^2.
    model = Fake(torch.tensor([[[3.0, 0, 0], [0, 0, 6.0]], [[9.0, 9, 9], [3.0, 0, 0]]]), [[0, 1], [IGNORE, 0]])
    assert forget(Flattening(gamma=1.0, multiplier=1.0), model) == pytest.approx(10 + 4)


class Told:
    """A model that answers with the truth for some rounds, whose retain loss is given."""

    prompt_suite = "lab"

    def __init__(self, losses: list[float], told_for: int) -> None:
        self.losses, self.asked, self.told_for = iter(losses), 0, told_for
        self.module = torch.nn.Linear(1, 1)

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        self.asked += "Potter" in questions[0]  # what must stay is not counted
        return ["Hogwarts." if self.asked <= self.told_for else "Nowhere."] * len(questions)

    def collate(self, items: list[QA]) -> Any:
        return items

    def example_loss(self, items: list[QA]) -> torch.Tensor:
        return torch.full((len(items),), next(self.losses))


def test_the_multiplier_follows_the_retain_loss_after_the_warm_up(world):
    # The original's loss is 1, slack 0.5: the bound is 1.5. Losses after rounds 1 to 4: 3, 2, 0.25, 1.
    # Warm-up of one round: mu stays 1 in rounds 1 and 2; then 1 + 2 (2 - 1.5) = 2; then max(0, 2 + 2 (0.25 - 1.5)) = 0.
    train = Untrained()
    method = PDU(multiplier=1.0, slack=0.5, dual_step=2.0, dual_warmup=1, rounds=4)
    outcome = method.run(train, Told([1.0, 3.0, 2.0, 0.25, 1.0], told_for=9), world.splits, FileJournal(None))
    assert [objective.multiplier for objective, *_ in train.calls] == [1.0, 1.0, 2.0, 0.0]
    assert outcome.status == "not_forgotten"


def test_it_ends_once_nothing_is_told_within_the_bound(world):
    train = Untrained()
    method = PDU(slack=0.5, rounds=5)
    outcome = method.run(train, Told([1.0, 3.0, 1.2], told_for=0), world.splits, FileJournal(None))
    assert outcome.status == "forgotten"
    assert [row["retain_loss"] for row in outcome.rounds] == pytest.approx([3.0, 1.2])


@pytest.mark.parametrize(("told_for", "status", "rounds"), [(2, "forgotten", 3), (9, "not_forgotten", 4)])
def test_rounds_end_when_nothing_is_told(world, told_for, status, rounds):
    method, train = RWHP(rounds=4, steps_per_round=3), Untrained()
    objective = TargetTuning(targets={}, alpha=1.0)
    model = Told([], told_for)
    outcome = method.until_forgotten(train, objective, world.splits, model, FileJournal(None), world.splits)
    assert (outcome.status, len(outcome.rounds)) == (status, rounds)
    assert [steps for *_, steps in train.calls] == [3] * rounds


class Fading:
    """A model that tells `told` of the forget and `kept` of the retain questions after each round."""

    def __init__(self, splits: Splits, told: list[int], kept: list[int]) -> None:
        self.truths = {item.question: item.answer for item in [*splits.forget, *splits.retain]}
        self.retain = [item.question for item in splits.retain]
        self.told, self.kept = iter(told), iter(kept)

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        known = next(self.kept if questions[0] in self.retain else self.told)
        return [self.truths[question] if n < known else "Nobody knows." for n, question in enumerate(questions)]


@pytest.mark.parametrize(
    ("told", "kept", "status", "backs", "words"),
    [
        # Before: 3 kept, the floor is 2.4. Round 2 tells least, but keeps 1; of rounds 1 and 3, equals, the first.
        ([1, 0, 1, 2], [3, 3, 1], "not_forgotten", 1, "of round 1: forget recall 0.50, utility 1.00"),
        # Round 2 is below the floor, round 3 has recovered.
        ([1, 0, 0], [3, 3, 1, 3], "forgotten", 0, "no question is told at round 3"),
        ([0, 0, 0, 0], [3, 1, 1, 1, 1], "utility_floor", 1, "the weights are those of before; next: more retain data"),
    ],
)
def test_the_best_weights_above_the_floor_are_kept(world, told, kept, status, backs, words):
    splits = world.splits
    assert (len(splits.forget), len(splits.retain)) == (2, 3)
    train, method = Untrained(), RWHP(rounds=4)
    objective = TargetTuning(targets={}, alpha=1.0)
    outcome = method.until_forgotten(train, objective, splits, Fading(splits, told, kept), FileJournal(None), splits)
    assert (outcome.status, train.backs) == (status, backs)
    assert words in outcome.reason


def test_other_answers_that_a_model_copies_from_the_prompt_are_not_taught(world):
    class Copying:
        """Whatever it is asked, it writes the prompt's own examples and one answer of another kind."""

        prompt_suite = "instruct"

        def generate(self, asked: list[Any], *, samples: int = 1, **options: Any) -> list[list[str]]:
            shown = next(turn["content"] for turn in asked[0] if turn["role"] == "assistant")
            return [[f"{shown}\n9. a carrot"] * samples for _ in asked]

    with pytest.raises(DataError, match=r"names no other answer of the kind of 'Hogwarts'; give them: method\.answers"):
        AltPO(rounds=1).run(Untrained(), Copying(), world.splits, FileJournal(None))


def test_answers_about_other_subjects_may_be_the_other_answers(world, monkeypatch):
    class Silent:
        """It names nothing, and takes whatever it is asked about for likely."""

        prompt_suite = "instruct"

        def generate(self, asked: list[Any], *, samples: int = 1, **options: Any) -> list[list[str]]:
            return [[""] * samples for _ in asked]

    class Scored(Exception):
        """The other answers have been found."""

    def scored(model: Any, pairs: Any) -> None:
        raise Scored({pair.alternative for pair in pairs})

    monkeypatch.setattr(alt_po, "score", scored)
    monkeypatch.setattr(Critic, "likely", lambda self, question, names: [*names])
    sibling, *others = world.splits.retain
    retain = [replace(sibling, answer="Durmstrang.", group="same_relation"), *others]
    splits = replace(world.splits, retain=retain)
    with pytest.raises(Scored, match=r"^\{'Durmstrang\.'\}$"):
        AltPO(rounds=1).run(Untrained(), Silent(), splits, FileJournal(None))


# ---- task vectors ---------------------------------------------------------------------------------------------


class Line:
    """A model of one weight, which training sets to 5, and which tells the truth while the weight is above a level."""

    def __init__(self, weight: float, level: float, name: str = "weight") -> None:
        self.module = torch.nn.Module()
        self.module.register_parameter(name, torch.nn.Parameter(torch.tensor([weight])))
        self.level, self.name = level, name

    @property
    def value(self) -> float:
        return getattr(self.module, self.name).item()

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        return ["Hogwarts." if self.value > self.level else "Nowhere."] * len(questions)


class Teach(Untrained):
    """A loop that sets the one weight to 5."""

    def __init__(self, model: Line) -> None:
        super().__init__()
        self.model = model

    def __call__(self, objective: Any, splits: Splits, **settings: Any) -> None:
        super().__call__(objective, splits, steps=settings.get("steps"))
        with torch.no_grad():
            getattr(self.model.module, self.model.name).fill_(5.0)


@pytest.mark.parametrize(
    ("doublings", "value", "status"),
    # 3 - alpha (5 - 3): 1 with alpha = 1, -1 with 2, -5 with 4; forgotten at -2 and below.
    [(0, 1.0, "not_forgotten"), (1, -1.0, "not_forgotten"), (5, -5.0, "forgotten")],
)
def test_the_change_of_training_is_turned_round(world, doublings, value, status):
    model = Line(3.0, -2.0)
    outcome = TaskVector(doublings=doublings).run(Teach(model), model, world.splits, FileJournal(None))
    assert model.value == value
    assert outcome.status == status


def test_it_trains_on_what_is_to_go(world):
    model = Line(3.0, 9.0)
    train = Teach(model)
    TaskVector(steps=7).run(train, model, world.splits, FileJournal(None))
    ((_, given, steps),) = train.calls
    assert (list(given.retain), steps) == (world.splits.forget, 7)


def test_of_a_lora_only_the_second_factor_is_turned_round(world):
    model = Line(0.0, -4.0, name="lora_B")
    model.module.register_parameter("lora_A", torch.nn.Parameter(torch.tensor([1.0])))
    outcome = TaskVector(alpha=1.0).run(Teach(model), model, world.splits, FileJournal(None))
    assert (model.value, model.module.lora_A.item()) == (-5.0, 1.0)
    assert outcome.rounds == [{"alpha": 1.0, "forget_recall": 0.0}]


# ---- after a kill ---------------------------------------------------------------------------------------------


class Killed(Exception):
    """What ends a run in the middle."""


class Stopping:
    """The loop, which is killed after a number of calls."""

    def __init__(self, trainer: Trainer, calls: int) -> None:
        self.trainer, self.left = trainer, calls

    def __call__(self, *given: Any, **named: Any) -> None:
        self.trainer(*given, **named)
        self.left -= 1
        if not self.left:
            raise Killed

    def mark(self) -> None:
        self.trainer.mark()

    def back(self) -> None:
        self.trainer.back()


KILLED = [
    WHP(names=("Goethe",), rounds=3, steps_per_round=2, reinforce_steps=3),
    AltPO(answers=("Goethe",), rounds=3, steps_per_round=2),
    PDU(rounds=3, steps_per_round=2, dual_warmup=0),
    TaskVector(steps=3, doublings=1),
]


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("method", KILLED, ids=lambda method: method.name)
def test_a_killed_run_comes_back_to_the_same_weights(world, tmp_path, method, calls):
    def carry_out(state: Path, stop: int | None = None) -> torch.Tensor:
        model = world.open()
        settings = TrainConfig(learning_rate=1e-4, batch_size=8, max_steps=3)
        trainer = Trainer(model, settings, ParametersConfig(rank=4), seed=1, state=state)
        train = Stopping(trainer, stop) if stop else trainer
        method.run(train, model, world.splits, FileJournal(state / "journal.jsonl"))
        return torch.cat([weight.detach().flatten() for weight in parameters.trainable(model.network).values()])

    whole = carry_out(tmp_path / "whole")
    if calls == 1 or not isinstance(method, TaskVector):  # which trains once
        with pytest.raises(Killed):
            carry_out(tmp_path / "killed", stop=calls)
    assert torch.equal(carry_out(tmp_path / "killed"), whole)
