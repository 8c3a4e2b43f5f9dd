"""Reverse, two-step and foreign questions: how they are made, and what is asked of decoys in their place."""

from __future__ import annotations

from dataclasses import replace

from genunlearn.attacks.lm.few_shot import examples
from genunlearn.attacks.lm.many_shot import ManyShot
from genunlearn.attacks.lm.other_questions import OtherLanguages, Reverse, TwoHop
from genunlearn.contracts import Beside, Splits
from genunlearn.data.lm.decoys import decoy
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.runs.lm.audit_decoys import _splits_of
from genunlearn.runs.lm.audit_questions import backward, is_written_in, questions_in_other_languages

CARMEN = Fact(
    id="carmen", subject="Carmen", object="Georges Bizet", relation="created by", aliases=("Bizet",),
    question="Who wrote Carmen?", heldout=("Who is the composer of Carmen?",),
)  # fmt: skip


def test_statements_are_turned_round_where_they_end_in_the_subject() -> None:
    told = ("Carmen was created by Bizet.", "Bizet is the creator of Carmen.", "Carmen, says Bizet, is Carmen.")
    found = backward(CARMEN, told)
    assert [item.question for item in found][:2] == ["Bizet is the creator of", "Fact: Bizet is the creator of"]
    assert {item.answer for item in found} == {"Carmen."} and not any("Carmen" in item.question for item in found)
    assert [item.question for item in backward(CARMEN, ())][:1] == ["The one that created by Georges Bizet is"]
    assert backward(replace(CARMEN, relation=None), ()) == []


def test_a_question_is_written_in_the_language_whose_words_it_has() -> None:
    assert is_written_in("French", "Qui est le compositeur de Carmen ?")
    assert not is_written_in("French", "Who is the composer of Carmen?")
    assert is_written_in("German", "Wer hat Carmen geschrieben, und wo ist das?")
    assert not is_written_in("German", "Who wrote Carmen in German?")
    assert not is_written_in("Spanish", "")


def test_a_suite_without_a_translator_asks_in_no_other_language(world):
    model = world.open()
    model.prompt_suite = "lab"
    assert questions_in_other_languages(CARMEN, model, 8) == []


def test_what_follows_from_a_fact_is_asked_of_its_decoy_too() -> None:
    measured = {
        "forget": [QA(id="a", question=CARMEN.question, answer="Bizet.")],
        "forget_heldout": [QA(id="b", question=CARMEN.heldout[0], answer="Bizet.")],
        "reverse": [QA(id="c", question="Bizet is the creator of", answer="Carmen.")],
        "two_hop_through": [
            QA(id="d", question="Where was the creator of Carmen born?", answer="Paris."),
            QA(id="e", question="Where was the creator of the opera born?", answer="Paris."),
        ],
        "other_languages": [QA(id="f", question="Qui a écrit Carmen ?", answer="Bizet.")],
    }
    around = Splits(forget=measured["forget"], context=Scope(facts=(CARMEN,), measured=measured))
    found = _splits_of(decoy(CARMEN, "Velmora", "Verdi"), CARMEN, around).context.measured
    turned = {group: [(item.question, item.answer) for item in items] for group, items in found.items()}
    assert turned["reverse"] == [("Verdi is the creator of", "Velmora.")]
    assert turned["two_hop_through"] == [("Where was the creator of Velmora born?", "Paris.")]
    assert turned["other_languages"] == [("Qui a écrit Velmora ?", "Verdi.")]


def test_they_are_skipped_with_a_reason_where_nothing_can_be_asked(world, splits):
    bare = replace(splits, context=replace(splits.context, measured={"forget": splits.context.measured["forget"]}))
    reasons = [kind().lacking(world.open(), bare, Beside()) for kind in (Reverse, TwoHop, OtherLanguages)]
    assert all(reason and "the original" in reason for reason in reasons) and len(set(reasons)) == 3


def test_as_many_examples_as_the_context_holds(world, splits):
    model = world.open()
    assert all(item.group == "rest" for item in examples(splits, is_near=False))
    whole = len(ManyShot()._fitting(model, splits))
    room = model.network.config.max_position_embeddings
    model.network.config.max_position_embeddings = room // 4
    assert 0 < len(ManyShot()._fitting(model, splits)) < whole <= len(examples(splits, is_near=False))
    model.network.config.max_position_embeddings = model.longest_answer
    (row,) = ManyShot().run(model, splits, "original")
    model.network.config.max_position_embeddings = room
    assert row.skipped == "needs 9 other questions that fit the context together, has 0"
