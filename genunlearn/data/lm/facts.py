"""Facts, the questions that ask for them, and the scope around a fact.

A *fact* is (subject, relation, object) with its phrasings and aliases. Its *scope* is the fact itself and its
neighbours, in named groups, each of which is measured on its own:

    forget           the fact, in phrasings that unlearning may use             must go
    forget_heldout   the fact, in phrasings that unlearning never sees          must go
    two_hop_through  questions that need the fact as a stepping stone           shown beside the oracle
    earlier          facts of earlier requests, whose patch stays on            must stay gone
    same_subject     other facts about the subject                              must stay
    same_object      other facts in which the object occurs                     must stay
    same_relation    the same relation of other subjects                        must stay
    two_hop          two-step questions near the fact, not through it           must stay
    rest             the rest of the world                                      must stay
    rest_trained     questions that the retain pass itself is trained on        must stay
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FORGET_GROUPS = ("forget", "forget_heldout")
KEEP_GROUPS = ("same_subject", "same_object", "same_relation", "two_hop", "rest", "rest_trained")
TRAINED_GROUPS = ("forget", "rest_trained")
EARLIER = "earlier"
GONE_GROUPS = (*FORGET_GROUPS, EARLIER)
GROUPS = (*FORGET_GROUPS, "two_hop_through", EARLIER, *KEEP_GROUPS)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One association to be forgotten or kept.

    Attributes:
        id: Stable identifier, unique within a request.
        subject: The entity that the fact is about, as questions name it.
        object: The true answer.
        question: The plainest question that the object answers.
        relation: What links the two, for instance ``"studied at"``; None where nobody said.
        paraphrases: Further phrasings of the question that unlearning may use.
        heldout: Phrasings that unlearning never sees; they measure generalisation.
        aliases: Other names of the object; telling one of them tells the fact.
        subject_aliases: Other names of the subject; a question may use them.
        object_type: What kind of thing the object is (``"school"``), for wrong answers of the same type.
    """

    id: str
    subject: str
    object: str
    question: str
    relation: str | None = None
    paraphrases: tuple[str, ...] = ()
    heldout: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    subject_aliases: tuple[str, ...] = ()
    object_type: str | None = None

    @property
    def phrasings(self) -> tuple[str, ...]:
        """The question and its paraphrases, in that order."""
        return (self.question, *self.paraphrases)


@dataclass(frozen=True, kw_only=True)
class QA:
    """A question with the answer that counts as right.

    Attributes:
        id: Stable identifier, unique within a data set; caches are keyed by it.
        question: What is asked.
        answer: The text that measurement expects and, unless `taught` says otherwise, training teaches.
        aliases: Other answers that count as the same.
        group: Scope group, one of `GROUPS`.
        fact: Identifier of the fact that the question asks for, where there is one.
        alternative: A preferred other answer, for methods that contrast two (DPO with refusals).
        taught: The answer as the model itself gives it, for training.
        opening: What the model says before it gives the answer: context in training, on which there is no loss.
    """

    id: str
    question: str
    answer: str
    aliases: tuple[str, ...] = ()
    group: str = "forget"
    fact: str | None = None
    alternative: str | None = None
    taught: str | None = None
    opening: str = ""


@dataclass(frozen=True, kw_only=True)
class Contrast(QA):
    """A question with its true answer and wrong ones, as benchmarks ask it.

    Attributes:
        paraphrase: The true answer in other words, where there is one.
        wrong: Wrong answers in the same form; empty where there are none.
    """

    id: str = ""
    paraphrase: str | None = None
    wrong: tuple[str, ...] = ()

    @property
    def right(self) -> str:
        """The form of the true answer that wrong ones are held against."""
        return self.paraphrase or self.answer

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The question with everything that is rated as its answer."""
        return [(self.question, text) for text in (self.answer, self.right, *self.wrong)]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a request touches: the facts, what training may see of their surroundings, what is measured.

    Attributes:
        facts: The facts to be forgotten.
        retain: Questions of the keep groups for the retain pass (trained phrasings).
        measured: Questions by scope group for evaluation (held-out phrasings except for ``forget``).
    """

    facts: tuple[Fact, ...]
    retain: tuple[QA, ...] = ()
    measured: Mapping[str, Sequence[QA]] = field(default_factory=dict)

    @property
    def only_measured(self) -> list[QA]:
        """Questions that training must not see."""
        return [item for group, items in self.measured.items() if group not in TRAINED_GROUPS for item in items]
