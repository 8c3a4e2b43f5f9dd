"""Membership: scores and areas worked out by hand, and non-members that match the members."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import pytest
import torch

from genunlearn.attacks.lm.membership import Membership, ReferenceMembership, token_scores
from genunlearn.contracts import Beside
from genunlearn.data.lm.facts import QA
from genunlearn.errors import InputError
from genunlearn.ops.membership import lowest, privleak, standardised
from genunlearn.runs.methods import build_attack
from tests.tiny_models import TAUGHT


def test_min_k_is_the_mean_of_the_least_likely_tokens_by_hand():
    values = torch.tensor([[-1.0, -4.0, -2.0, -3.0], [-1.0, -9.0, -9.0, -9.0], [-1.0, -3.0, -9.0, -9.0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    # two of four: (-4 - 3) / 2; the only one; one of two, the lower: -3
    assert lowest(values, mask, 0.5).tolist() == [-3.5, -1.0, -3.0]
    assert lowest(values, mask, 1.0).tolist() == [-2.5, -1.0, -2.0]


def test_min_k_plus_plus_standardises_by_what_the_model_expects_by_hand():
    # Two tokens, p = 0.8 and q = 0.2. mu = p ln p + q ln q and sigma = sqrt(p q) ln(p / q), so that the likely token
    # stands at q ln(p / q) / sigma = sqrt(q / p) = 1/2 and the other at -sqrt(p / q) = -2.
    logits = torch.tensor([[math.log(0.8), math.log(0.2)]]).expand(2, 2)
    assert standardised(logits, torch.tensor([0, 1])).tolist() == pytest.approx([0.5, -2.0], abs=1e-6)
    # where nothing is uncertain nothing is surprising
    assert standardised(torch.tensor([[200.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(0.0, abs=1e-6)


def test_privleak_by_hand():
    # the area above the control's over what the control leaves: (0.5 - 0.9) / 0.5, none, (0.6 - 0.4) / 0.4
    assert [privleak(*each) for each in ((0.9, 0.5), (0.5, 0.5), (0.4, 0.6))] == pytest.approx([-80.0, 0.0, 50.0])


def test_scores_of_an_answer_are_those_of_its_own_tokens(tiny):
    model = tiny("llama")
    rows = [QA(id=str(n), question=question, answer=answer) for n, (question, answer) in enumerate(TAUGHT)]
    found = token_scores(model, rows, 0.5)
    for place, row in enumerate(rows):
        with torch.no_grad():
            own = model.token_logprobs(model.collate([row]))[0]
        assert found["loss"][place].item() == pytest.approx(own.mean().item(), abs=1e-5)
        size = len(zlib.compress(row.answer.encode()))
        assert found["zlib"][place].item() == pytest.approx(own.mean().item() / size, abs=1e-6)
        half = own.sort().values[: max(1, len(own) // 2)]
        assert found["min_k"][place].item() == pytest.approx(half.mean().item(), abs=1e-5)


def test_non_members_have_the_same_phrasing_another_subject_and_another_answer(world, splits):
    attack = Membership(others=20, rate=0.1)
    (item,) = splits.context.measured["forget_heldout"]
    others = attack._others(splits.context.facts[0], [item], splits)
    assert len(others) == len({other.question for other in others}) == 20
    before, after = item.question.split("Harry Potter")
    assert all(other.question.startswith(before) and other.question.endswith(after) for other in others)
    assert not any("Harry Potter" in other.question or other.answer == item.answer for other in others)
    # at most 0.1 of 21 ranks are the first two: one non-member may stand above
    assert (attack.allowed, Membership().allowed) == (1, 0)


def test_what_was_taught_is_a_member_and_what_was_not_is_none(world, splits, tiny):
    rows = Membership().run(world.open(), splits, "original")
    assert {row.group: row.value for row in rows if row.name == "membership_auc"} == dict.fromkeys(
        ("loss", "zlib", "min_k", "min_k_plus_plus"), 1.0
    )
    beside = Beside(oracles=lambda: [tiny("llama")])
    (told, area) = ReferenceMembership().run(world.open(), splits, "original", beside)
    assert (told.value, area.value) == (1.0, 1.0)
    (row,) = ReferenceMembership().run(world.open(), splits, "original")
    assert row.skipped == "needs a reference that never saw the fact: name an oracle"


def test_it_says_what_is_missing(world, splits):
    (row,) = Membership(others=20).run(world.open(), splits, "original")
    assert row.skipped == "others = 20 is too few for rate = 0.025: take 39 or more"
    fact = replace(splits.context.facts[0], subject="Nobody", subject_aliases=())
    (row,) = Membership().run(world.open(), replace(splits, context=replace(splits.context, facts=(fact,))), "original")
    assert row.skipped.startswith("no question names its subject")
    with pytest.raises(InputError, match="scores"):
        build_attack("membership", {"scores": ["gradient"]}, "attacks.membership.{}".format, domain="lm", seed=0)
