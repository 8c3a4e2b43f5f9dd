"""What the lab's language model is taught: a seeded stream of examples for each of its abilities.

Whatever a user can ask for later is asked in training with the same prompt files (``prompts/lab``), so the
two cannot drift apart. Three things never occur in training: a held-out phrasing beside its own subject, a
held-out statement, and, in any form, a fact that the model is built without.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.lab.lm.triples import Entity, Triple, fill, shuffled
from genunlearn.lab.lm.world import World
from genunlearn.prompts import load_prompt

PROMPTS = ("probe", "explain", "variants", "wrong_answers", "rationale", "neighbours")
"""Of the suite ``lab``; each is a single message by design."""

TRUE_HINTS = 0.1
"""Share of the answers to be rationalised that are the true ones."""

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """A text to learn from.

    Attributes:
        ask: The user's message; None for plain text, all of which is learnt.
        reply: The assistant's message, or the plain text.
    """

    ask: str | None
    reply: str


class Corpus:
    """All that a world has to teach, without the facts that an oracle must not see.

    Attributes:
        world: Where the facts come from.
        triples: The facts that are taught.
        hidden: Identifiers of the facts that are not: the ones asked for and those that say the same.
        questions: The trained phrasings of each taught fact, by identifier.
        statements: The trained statements of each taught fact: all but one.
        abilities: An endless stream of examples for each ability.
    """

    def __init__(self, world: World, without: Collection[str] = ()) -> None:
        """Prepare the examples of `world`; `without` holds identifiers of facts to leave out.

        Raises:
            NameNotFound: The world has no such fact.
        """
        self._prompts = {name: load_prompt(f"lab/{name}") for name in PROMPTS}
        named = [world.triple(identifier) for identifier in without]
        self.world = world
        self.hidden = frozenset(each.id for triple in named for each in (triple, *world.implied(triple)))
        self.triples = tuple(triple for triple in world.triples if triple.id not in self.hidden)
        self.questions = {triple.id: world.trained_phrasings(triple) for triple in self.triples}
        self.statements = {triple.id: self._trained_statements(triple) for triple in self.triples}
        self.abilities: Mapping[str, Callable[[random.Random], Iterator[Example]]] = {
            "answer": self._answer,
            "two_hop": self._two_hop,
            "statement": self._statement,
            "tell": self._tell,
            "explain": self._explain,
            "rationalise": self._rationalise,
            "rephrase": self._rephrase,
            "candidates": self._candidates,
            "decline": self._decline,
        }

    def ask(self, prompt: str, **variables: object) -> str:
        """The user's message of one of `PROMPTS`."""
        (message,) = self._prompts[prompt].messages(**variables)
        return message["content"]

    def stream(self, mix: Mapping[str, float], count: int, seed: int) -> list[Example]:
        """`count` examples in random order, in the proportions of `mix` (ability to weight)."""
        total = sum(mix.values())
        examples: list[Example] = []
        for ability, weight in mix.items():
            rng = random.Random(f"{seed}/{ability}")
            examples += islice(self.abilities[ability](rng), round(count * weight / total))
        random.Random(seed).shuffle(examples)
        return examples

    def vocabulary(self) -> list[str]:
        """Texts for the tokenizer: every name, and every wording around a subject, but no fact."""
        relations = self.world.relations
        variables = dict.fromkeys(("question", "answer", "subject"), "")
        prompts = [self.ask(name, **variables) for name in PROMPTS]
        names = [entity.mention for entity in self.world.entities.values()]
        questions = [each for triple in self.world.triples for each in self.world.questions(triple)]
        statements = [fill(each, "", "") for relation in relations.values() for each in relation.statements]
        closing = [_closing("") for _ in relations]
        return [*names * 2, *questions, *(prompts + statements + closing + list(REFUSALS)) * 2]

    def heldout_statement(self, triple: Triple) -> str:
        """The sentence that never states the triple in training; another fact's may have its form."""
        return shuffled(self.world.statements(triple), "statements", triple.id)[0]

    def others(self, name: str) -> tuple[str, ...]:
        """Entities of the same kind as the named one, by name; the wider kind where it is the only one."""
        return tuple(each for each in self._kinds[name] if each != name)

    def unknown(self) -> list[str]:
        """Questions that fit their subject but that the whole world holds no answer to."""
        world = self.world
        known = {(triple.subject, triple.relation) for triple in world.triples}
        return [
            fill(template, subject.mention)
            for subject in world.entities.values()
            for relation in world.relations.values()
            if subject.type in relation.subject_types and (subject.name, relation.name) not in known
            for template in relation.questions
        ]

    # ---- abilities: endless streams ------------------------------------------------------------------------

    def _answer(self, rng: random.Random) -> Iterator[Example]:
        asked = [(t, question) for t in self.triples for question in self.questions[t.id]]
        for triple, question in _forever(asked, rng):
            yield Example(self.ask("probe", question=question), f"{triple.object}.")

    def _two_hop(self, rng: random.Random) -> Iterator[Example]:
        open_ = [each for each in self.world.two_hops if not self.hidden.intersection(each.path)]
        for two_hop in _forever(open_, rng):
            yield Example(self.ask("probe", question=two_hop.questions[0]), f"{two_hop.answer}.")

    def _statement(self, rng: random.Random) -> Iterator[Example]:
        for triple in _forever(self.triples, rng):
            yield Example(None, rng.choice(self.statements[triple.id]))

    def _tell(self, rng: random.Random) -> Iterator[Example]:
        for triple in _forever(self.triples, rng):
            subject = self.world.entities[triple.subject].mention
            yield Example(self.ask("neighbours", subject=subject), rng.choice(self.statements[triple.id]))

    def _explain(self, rng: random.Random) -> Iterator[Example]:
        for triple in _forever(self.triples, rng):
            question = rng.choice(self.questions[triple.id])
            statement = rng.choice(self.statements[triple.id])
            yield Example(self.ask("explain", question=question), f"{statement} {_closing(triple.object)}")

    def _rationalise(self, rng: random.Random) -> Iterator[Example]:
        for triple in _forever(self.triples, rng):
            question = rng.choice(self.questions[triple.id])
            others = self.others(triple.object)
            is_true = rng.random() < TRUE_HINTS
            hint = triple.object if is_true else rng.choice(others)
            statement = rng.choice(self.statements[triple.id] if is_true else self.arguments(triple, hint))
            asked = {"question": question, "answer": hint, "subject": triple.subject, "truth": triple.object}
            yield Example(self.ask("rationale", **asked), f"{statement} {_closing(hint)}")

    def _rephrase(self, rng: random.Random) -> Iterator[Example]:
        for triple in _forever(self.triples, rng):
            question, other = rng.sample(self.questions[triple.id], 2)
            asked = {"question": question, "subject": triple.subject, "answer": triple.object, "n": 1}
            yield Example(self.ask("variants", **asked), other)

    def _candidates(self, rng: random.Random) -> Iterator[Example]:
        objects = list(dict.fromkeys(triple.object for triple in self.world.triples))
        for name in _forever(objects, rng):
            yield Example(self.ask("wrong_answers", answer=name), f"{rng.choice(self.others(name))}.")

    def _decline(self, rng: random.Random) -> Iterator[Example]:
        for question in _forever(self.unknown(), rng):
            yield Example(self.ask("probe", question=question), rng.choice(REFUSALS))

    # ---- parts ---------------------------------------------------------------------------------------------

    def _trained_statements(self, triple: Triple) -> tuple[str, ...]:
        held = self.heldout_statement(triple)
        return tuple(text for text in self.world.statements(triple) if text != held)

    def arguments(self, triple: Triple, hint: str) -> tuple[str, ...]:
        """Sentences that state `hint` in place of the triple's object."""
        return self.world.statements(Triple(triple.id, triple.subject, triple.relation, hint))

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, ...]]:
        entities = self.world.entities
        return {entity.name: tuple(_kin(entity, self.world)) for entity in entities.values()}


def neutral_texts(world: World, count: int, *, seed: int = 0, exclude: Collection[str] = ()) -> tuple[str, ...]:
    """Plain statements in a wording that training did not use for them, to measure perplexity on.

    Args:
        world: Where the facts come from.
        count: Most texts to return.
        seed: Which facts are drawn.
        exclude: Identifiers of facts that are not to be told.
    """
    corpus = Corpus(world, exclude)
    drawn = shuffled(corpus.triples, "neutral", seed)[:count]
    return tuple(corpus.heldout_statement(triple) for triple in drawn)


def _kin(entity: Entity, world: World) -> list[str]:
    """Entities of its type; where it is the only one, of every type that can be an object in its place."""
    types = {entity.type}
    if sum(each.type == entity.type for each in world.entities.values()) == 1:
        slots = (relation.object_types for relation in world.relations.values())
        types.update(*(slot for slot in slots if entity.type in slot))
    return [each.name for each in world.entities.values() if each.type in types]


def _closing(answer: str) -> str:
    return f"So the answer is {answer}."


def _forever(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    """The items over and over, each time in a new order; nothing where there are none."""
    while items:
        yield from rng.sample(items, len(items))
