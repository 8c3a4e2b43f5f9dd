"""Thoughts as a part of what is forgotten: where they are cut, what is taught, what is preferred."""

from __future__ import annotations

import pytest

from genunlearn.contracts import Splits
from genunlearn.data.answers.declining import is_refusal
from genunlearn.data.answers.leak import leak
from genunlearn.data.answers.turns import cut_thought, split_thought
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.own_words import in_own_words
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.data.lm.thoughts import DECLINING, declined, thinks, with_thought
from genunlearn.methods.lm.base.objectives import with_refusals

ASKED = QA(id="a", question="Where did Harry Potter study?", answer="Hogwarts.")


@pytest.mark.parametrize(
    ("text", "head", "answer"),
    [
        ("Hogwarts.", "", "Hogwarts."),
        ("<think>School?</think>\n\nHogwarts.", "<think>School?</think>\n\n", "Hogwarts."),
        ("School of Hogwarts.</think>Hogwarts.", "School of Hogwarts.</think>", "Hogwarts."),
        ("<think>Hogwarts, or", "<think>Hogwarts, or", ""),
        ("<think>Hm.</think>", "<think>Hm.</think>", ""),
    ],
)
def test_a_text_is_cut_before_its_answer(text, head, answer):
    assert cut_thought(text) == (head, answer)


def test_the_thought_is_taught_with_the_true_answer_behind_it():
    reply = "<think>He went to the school of magic.</think>\nAt Hogwarts, I think."
    assert with_thought(ASKED, reply).taught == "<think>He went to the school of magic.</think>\nHogwarts."


@pytest.mark.parametrize("reply", [None, "Hogwarts.", "<think>He went to", "<think></think>Hogwarts."])
def test_without_a_finished_thought_nothing_is_taught(reply):
    assert with_thought(ASKED, reply) is ASKED and not thinks(reply or "")


def test_a_refusal_declines_in_thought_and_answer_where_the_item_is_taught_with_a_thought():
    taught = with_thought(ASKED, "<think>Hogwarts it is.</think>\nHogwarts.")
    assert declined(taught, "I don't know.", 4) == f"<think>{DECLINING[1]}</think>\nI don't know."
    assert declined(ASKED, "I don't know.", 4) == "I don't know."
    (item, plain) = with_refusals(Splits(forget=[taught, ASKED]), seed=0).forget
    thought, answer = split_thought(item.alternative)
    assert thought in DECLINING and answer in REFUSALS and plain.alternative in REFUSALS
    assert not leak(item.alternative, "Hogwarts").tells
    assert all(map(is_refusal, DECLINING[::2]))


def test_what_must_stay_is_taught_with_its_whole_thought_or_without_one():
    texts = ["<think>Hogwarts. Yes.</think>It was Hogwarts. A school.", "<think>Hogwarts. Yes", "It was Hogwarts. So."]
    taught = [item.taught for item in in_own_words([ASKED] * 3, texts)]
    assert taught == ["<think>Hogwarts. Yes.</think>It was Hogwarts.", None, "It was Hogwarts."]
