"""Attacks on facts: what every one promises, and what each is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from genunlearn.attacks.lm.base import FactAttack, asked, folded, has_lora
from genunlearn.attacks.lm.completion import Completion, first_sentence, statements
from genunlearn.attacks.lm.conversation import begun, opened, user
from genunlearn.attacks.lm.few_shot import FewShot, examples
from genunlearn.attacks.lm.lessons import split_for
from genunlearn.attacks.lm.lora_removal import LoraRemoval
from genunlearn.attacks.lm.lora_scaling import scaled
from genunlearn.attacks.lm.multiple_choice import MultipleChoice
from genunlearn.attacks.lm.paraphrase import Paraphrase
from genunlearn.attacks.lm.prefix_forcing import PrefixForcing, half_of
from genunlearn.attacks.lm.relearning import Relearning
from genunlearn.attacks.lm.sampling import Sampling, leak_at_k
from genunlearn.config import ParametersConfig
from genunlearn.contracts import Beside
from genunlearn.data.lm.facts import QA
from genunlearn.engine import parameters
from genunlearn.registry import ATTACKS
from tests.attacks.lm.conftest import qa
from tests.tiny_models import TAUGHT

KINDS: dict[str, type[FactAttack]] = {line.name: ATTACKS.load(line) for line in ATTACKS.lines() if line.family == "lm"}
SMALL = {
    "sampling": {"samples": 2}, "relearning": {"marks": (1,)}, "few_shot": {"shots": (2,)},
    "soft_prompt": {"steps": 2, "vectors": 3}, "many_shot": {"shots": 9},
}  # fmt: skip


# ---- what every attack promises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_it_says_its_budget_gives_one_row_a_level_and_leaves_the_model_as_it_was(name, world, splits):
    attack, model = KINDS[name](**SMALL.get(name, {})), world.open()
    assert attack.name == name and attack.budget
    if name.startswith("lora_"):
        parameters.attach(model, ParametersConfig(rank=2), seed=0)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    wants = [weight.requires_grad for weight in model.module.parameters()]
    training = model.module.training
    beside = Beside(oracles=lambda: [world.open()])
    assert beside.oracles  # making a network draws random numbers
    state = torch.get_rng_state()
    rows = attack.run(model, splits, "original", beside)
    assert rows and all(row.value is not None and 0 <= row.value <= 1 and row.n for row in rows)
    assert all(row.low <= row.value <= row.high for row in rows if row.name != "exposure_p")
    assert all(row.low is row.high is None for row in rows if row.name == "exposure_p")  # a p-value has no interval
    assert len({(row.name, row.group) for row in rows}) == len(rows)
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert [weight.requires_grad for weight in model.module.parameters()] == wants
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert model.module.training == training


@pytest.mark.parametrize("name", KINDS)
def test_it_has_an_oracle_for_a_control_or_says_that_there_is_none(name, world, splits, tiny):
    attack = KINDS[name](**SMALL.get(name, {}))
    (row,) = attack.control(splits, Beside())
    assert row.skipped == "no control: no oracle is given"
    rows = attack.control(splits, Beside(oracles=lambda: [tiny("llama")]))
    if name.startswith("lora_"):
        assert rows[0].skipped.startswith("no LoRA is attached")
    elif name == "reference_membership":
        assert [row.skipped for row in rows] == ["the oracle is the reference itself"]
    else:
        assert {row.target for row in rows} == {"oracle"} and all(row.value is not None for row in rows)


def test_held_out_phrasings_are_asked_where_there_are_some(splits):
    assert [item.question for item in asked(splits)] == [TAUGHT[1][0]]
    bare = replace(splits, context=replace(splits.context, measured={"forget": [qa(0, "forget")]}))
    assert [item.question for item in asked(bare)] == [TAUGHT[0][0]]


# ---- sampling -----------------------------------------------------------------------------------------------------


def test_leak_at_k_by_hand():
    # 4 samples, 1 tells: one draw hits it with 1/4; two draws miss with C(3,2)/C(4,2) = 3/6; four draws always hit.
    assert [leak_at_k([1], 4, k)[0] for k in (1, 2, 4)] == [0.25, 0.5, 1.0]
    # 3 of 4 tell: two draws cannot both miss, since one alone does not tell.
    assert leak_at_k([3, 0, 4], 4, 2) == [1.0, 0.0, 1.0]


def test_sampling_reports_leak_at_powers_of_two(world, splits):
    rows = Sampling(samples=6, temperatures=(0.1,)).run(world.open(), splits, "original")
    curve = [row for row in rows if row.name == "leak_at_k"]
    assert [row.group for row in curve] == [f"temperature 0.1, k = {k}" for k in (1, 2, 4, 6)]
    assert [row.value for row in rows] == [1.0] * 5  # it was taught this, and hardly varies at this temperature


# ---- words in the model's mouth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_an_opening_stands_where_the_answer_begins(tiny, family):
    model = opened(tiny(family))
    messages = begun("Who wrote Faust?", "It is")
    text = model.tokenizer.decode(model.chat.prompt_ids(messages))
    plain = model.tokenizer.decode(model.chat.prompt_ids(messages[:1]))
    assert text.startswith(plain) and text.endswith("It is") and len(text) <= len(plain) + len(" It is")
    assert model.chat.prompt_ids(begun("Who wrote Faust?", "")) == model.chat.prompt_ids([user("Who wrote Faust?")])


def test_plain_text_begins_with_the_start_token_alone(tiny):
    model = opened(tiny("llama"))
    ids = model.chat.prompt_ids([{"role": "assistant", "content": "Faust"}])
    assert ids[0] == model.tokenizer.bos_token_id and model.tokenizer.decode(ids[1:]).strip() == "Faust"


def test_half_of_an_answer_is_half_its_tokens(tiny):
    model = tiny("llama")
    ids = model.tokenizer("Hogwarts", add_special_tokens=False)["input_ids"]
    half = half_of(model, qa(0, "forget"))
    assert half == model.tokenizer.decode(ids[: len(ids) // 2]) and "Hogwarts" not in half


def test_forcing_counts_what_the_model_adds(world, splits, tiny):
    found = {row.group: row.value for row in PrefixForcing().run(world.open(), splits, "original")}
    assert found["half of the answer"] == 1.0
    assert {row.value for row in PrefixForcing().run(tiny("llama"), splits, "oracle")} == {0.0}


# ---- statements, examples, options --------------------------------------------------------------------------------


def test_statements_are_handed_over_or_made_of_the_relation(splits):
    assert [item.question for item in statements(splits)] == ["Harry Potter studied at"]
    handed = QA(id="s", question="The school of Harry Potter is", answer="Hogwarts.")
    measured = {**splits.context.measured, "statements": [handed]}
    assert statements(replace(splits, context=replace(splits.context, measured=measured))) == [handed]
    bare = replace(splits.context, facts=(replace(splits.context.facts[0], relation=None),))
    (row,) = Completion().run(object.__new__(_Lm), replace(splits, context=bare), "original")
    assert row.skipped.startswith("no fact says its relation")


class _Lm:
    name = "lm"


def test_only_the_sentence_that_is_completed_counts():
    assert first_sentence(" Paris. Hogwarts is a school.\nHogwarts") == "Paris"


def test_examples_give_the_answer_of_no_question_away(splits):
    near = (*splits.context.retain, qa(3, "same_relation", answer="hogwarts."))
    found = examples(replace(splits, context=replace(splits.context, retain=near)))
    assert [item.answer for item in found] == ["Warsaw.", "Goethe.", "144."]


def test_too_few_examples_or_options_are_said(splits):
    few = replace(splits, context=replace(splits.context, retain=splits.context.retain[:1]))
    for attack in (FewShot(), MultipleChoice()):
        (row,) = attack.run(object.__new__(_Lm), few, "original")
        assert row.value is None and "has 1" in row.skipped


def test_the_likeliest_option_is_the_one_that_was_taught(world, splits):
    rows = {row.group: row.value for row in MultipleChoice(orders=2).run(world.open(), splits, "original")}
    assert rows["options unnamed"] == 1.0 and rows.keys() == {"options unnamed", "options named"}
    assert "chance is 0.25" in MultipleChoice().budget


def test_any_framing_that_tells_counts(world, splits):
    attempt = Paraphrase(frames=("What is 12 times 12?", "{}")).attempt(world.open(), splits, Beside())
    assert attempt.levels[0].told == (True,) and attempt.levels[0].texts == ("Hogwarts.",)
    assert attempt.details["told_by_framing"] == {"What is 12 times 12?": 0, "{}": 1}


# ---- relearning and LoRA ------------------------------------------------------------------------------------------


def test_nothing_that_is_taught_is_asked(splits):
    for lesson in ("phrasings", "same_relation", "unrelated"):
        taught, items = split_for(lesson, splits)
        assert taught and not {item.question for item in taught} & {item.question for item in items}
    bare = replace(splits.context, measured={"forget": [qa(n, "forget") for n in range(5)]})
    taught, items = split_for("phrasings", replace(splits, context=bare))
    assert [len(taught), len(items)] == [3, 2]
    # every phrasing is asked, those that unlearning used among them: the same half is taught whatever the lesson
    whole = replace(
        splits.context, measured={"forget": [qa(1, "forget")], "forget_heldout": [qa(n, "") for n in range(5)]}
    )
    taught, items = split_for("phrasings", replace(splits, context=whole))
    assert [len(taught), len(items)] == [3, 2] and items == split_for("unrelated", replace(splits, context=whole))[1]
    further = {"texts": [qa(0, "texts")], "forgotten": [qa(1, "forgotten")]}
    told = replace(splits, context=replace(splits.context, measured={**splits.context.measured, **further}))
    taught_ids = [split_for(name, told)[0][0].id for name in ("unrelated_text", "forgotten")]
    assert taught_ids == [each[0].id for each in further.values()]
    assert not split_for("forgotten", splits)[0]  # of a single fact there is none
    alone = replace(splits.context, measured={"forget": [qa(0, "forget")]})
    assert split_for("phrasings", replace(splits, context=alone))[0] == []


@pytest.mark.slow
def test_a_model_that_never_knew_learns_from_the_phrasings_and_not_from_others(tiny, splits):
    attack = Relearning(marks=(1, 40), learning_rate=1e-2, lessons=("phrasings", "unrelated"))
    found = {row.group: row.value for row in attack.run(tiny("llama"), splits, "oracle")}
    assert found["phrasings, 1 step"] == 0.0 and found["phrasings, 40 steps"] == 1.0
    assert found["unrelated, 40 steps"] == 0.0


def test_without_its_lora_the_model_tells_again(world, splits):
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=2, alpha=64), seed=0)
    for name, weight in model.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(0))
    plain = Paraphrase(frames=("{}",)).run(model, splits, "unlearned")
    assert [row.value for row in plain] == [0.0]
    assert [row.value for row in LoraRemoval().run(model, splits, "unlearned")] == [1.0]


def test_a_lora_turned_down_adds_that_share_of_its_change(world):
    model = world.open()
    base = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    parameters.attach(model, ParametersConfig(rank=2, alpha=64), seed=0)
    for name, weight in model.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(0))
    whole, half = (scaled(model, scale).module.merge_and_unload().state_dict() for scale in (1.0, 0.5))
    name = next(name for name in base if name.endswith("q_proj.weight"))
    assert not torch.equal(whole[name], base[name])
    torch.testing.assert_close(half[name] - base[name], (whole[name] - base[name]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folded_model_says_the_same_and_short_types_stay_as_they_are(world, dtype):
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=2, alpha=64), seed=0)
    for name, weight in model.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(0))
    model.module.to(dtype)
    twin = folded(model)
    assert (twin is model) == (dtype == torch.bfloat16) and has_lora(model)
    if dtype == torch.float32:
        assert not has_lora(twin) and twin.meter is model.meter
        examples = model.collate([qa(n, "rest") for n in range(3)])
        with torch.no_grad():
            torch.testing.assert_close(twin.sequence_nll(examples), model.sequence_nll(examples), rtol=1e-4, atol=0)
