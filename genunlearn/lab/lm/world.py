"""The small real world that the lab's language model knows: people, places, works and what links them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rapidfuzz import fuzz, process

from genunlearn.data.lm.facts import GROUPS, QA, Fact, Scope
from genunlearn.errors import DataError, NameNotFound
from genunlearn.lab.lm.neighbours import Neighbours, implied, neighbours_of
from genunlearn.lab.lm.triples import Entity, Relation, Triple, fill, normalised, read_tables, shuffled
from genunlearn.lab.lm.twohop import TwoHop, derive_two_hops

__all__ = ["Entity", "Relation", "Triple", "TwoHop", "World", "load_world"]

MEASURED_TRIPLES = 24  # of each near group; two held-out phrasings each
MEASURED_REST = 60
RETAINED_TRIPLES = 40  # of same_object and of same_relation; same_subject is kept whole
RETAINED_REST = 80
NEAR_MATCH_SCORE = 70  # rapidfuzz WRatio, 0 to 100


@dataclass(frozen=True, eq=False)
class World:
    """Entities and relations by name, facts, and the two-hop questions that chains of facts answer.

    Every draw depends on its ``seed`` and the data alone, so that training, unlearning and measurement agree
    on which phrasings are trained and which are held out.
    """

    entities: dict[str, Entity]
    relations: dict[str, Relation]
    triples: tuple[Triple, ...]
    two_hops: tuple[TwoHop, ...]

    def questions(self, triple: Triple) -> tuple[str, ...]:
        """All phrasings of the question for the triple's object, the plainest first."""
        subject = self.entities[triple.subject].mention
        return tuple(fill(template, subject) for template in self.relations[triple.relation].questions)

    def statements(self, triple: Triple) -> tuple[str, ...]:
        """Sentences that state the triple."""
        subject, told = self.entities[triple.subject].mention, self.entities[triple.object].mention
        return tuple(fill(template, subject, told) for template in self.relations[triple.relation].statements)

    def trained_phrasings(self, triple: Triple, seed: int = 0) -> tuple[str, ...]:
        """The half of the triple's questions that training sees, in the relation's order."""
        questions = self.questions(triple)
        chosen = shuffled(questions, "phrasings", seed, triple.id)[: (len(questions) + 1) // 2]
        return tuple(question for question in questions if question in chosen)

    def heldout_phrasings(self, triple: Triple, seed: int = 0) -> tuple[str, ...]:
        """The other half, which training never sees."""
        trained = self.trained_phrasings(triple, seed)
        return tuple(question for question in self.questions(triple) if question not in trained)

    def triple(self, key: str) -> Triple:
        """The fact that a key names.

        Args:
            key: An identifier (``harry-potter.studied-at``) or ``subject | relation | object``, in any case,
                with aliases; another wording of the relation will do where it leaves one fact.

        Raises:
            NameNotFound: No such identifier, subject, object or relation; the message carries near matches.
            DataError: The key has another form, or the world holds something else about the subject.
        """
        if "|" not in key:
            if key.strip().casefold() not in self._by_id:
                raise _not_found("fact", key, self._by_id)
            return self._by_id[key.strip().casefold()]
        parts = [part.strip() for part in key.split("|")]
        if len(parts) != 3 or not all(parts):
            raise DataError(f"fact = '{key}' has {len(parts)} parts; write 'subject | relation | object'")
        subject, told = self.entity(parts[0]).name, self.entity(parts[2]).name
        return self._linking(subject, parts[1], told)

    def entity(self, name: str) -> Entity:
        """The entity of that name or alias.

        Raises:
            NameNotFound: The world has no such entity; the message carries near matches.
        """
        if normalised(name) not in self._by_name:
            known = [other for each in self.entities.values() for other in (each.name, *each.aliases)]
            raise _not_found("name", name, known)
        return self._by_name[normalised(name)]

    def fact(self, key: str, seed: int = 0) -> Fact:
        """The fact that a key names, with its trained and held-out phrasings and its aliases.

        Args:
            key: As `triple` takes it.
            seed: Which half of the phrasings is the trained one.

        Raises:
            NameNotFound: See `triple`.
            DataError: See `triple`.
        """
        triple = self.triple(key)
        subject, told = self.entities[triple.subject], self.entities[triple.object]
        question, *paraphrases = self.trained_phrasings(triple, seed)
        return Fact(
            id=triple.id,
            subject=triple.subject,
            relation=triple.relation,
            object=triple.object,
            question=question,
            paraphrases=tuple(paraphrases),
            heldout=self.heldout_phrasings(triple, seed),
            aliases=told.aliases,
            subject_aliases=subject.aliases,
            object_type=told.type,
        )

    def wrong_answers(self, fact: Fact) -> tuple[str, ...]:
        """The other entities of the object's type, by name."""
        told = self.entity(fact.object)
        return tuple(each.name for each in self.entities.values() if each.type == told.type and each != told)

    def implied(self, triple: Triple) -> tuple[Triple, ...]:
        """Facts that state the triple the other way round; a model without it must not see them either."""
        return implied(triple, self.triples, self._symmetric)

    def neighbours(self, facts: Sequence[Fact]) -> Neighbours:
        """All facts and two-hop questions around some facts, by group, before any sampling."""
        return neighbours_of([self._of(fact) for fact in facts], self.triples, self.two_hops, self._symmetric)

    def scope(self, facts: Sequence[Fact], seed: int = 0) -> Scope:
        """What training may see around some facts, and what is measured.

        Retained are trained phrasings: all of each fact with the same subject, two of each with the same
        object or relation, one of each two-hop question near and of the rest. Measured are held-out
        phrasings: two of each near fact, one of each two-hop question and of the rest; and every phrasing of
        the forgotten facts. Large groups are sampled.

        Args:
            facts: The facts to be forgotten, of this world.
            seed: Which half of the phrasings is the trained one, and which neighbours are drawn.

        Raises:
            DataError: There are no facts, one occurs twice, or the world holds something else of a subject.
            NameNotFound: A fact names something that the world does not know.
        """
        if not facts:
            raise DataError("facts = () is empty; name at least one fact to forget")
        ids = [self._of(fact).id for fact in facts]
        if len(set(ids)) < len(ids):
            twice = next(identifier for identifier in ids if ids.count(identifier) > 1)
            raise DataError(f"fact = '{twice}' is named twice; name each fact once")
        around = self.neighbours(facts)
        return Scope(
            facts=tuple(facts),
            retain=self._retain(around, seed),
            measured=self._measured(facts, around, seed),
        )

    def _retain(self, around: Neighbours, seed: int) -> tuple[QA, ...]:
        asked: list[QA] = []
        for group, count, phrasings in (
            ("same_subject", None, None),
            ("same_object", RETAINED_TRIPLES, 2),
            ("same_relation", RETAINED_TRIPLES, 2),
            ("rest", RETAINED_REST, 1),
        ):
            for triple in shuffled(getattr(around, group), "retain", seed)[:count]:
                trained = self.trained_phrasings(triple, seed)
                drawn = shuffled(trained, "retain", seed)[:phrasings]
                asked += [self._qa(question, triple.object, group, triple.id) for question in drawn]
        near = shuffled(around.two_hop, "retain", seed)[:RETAINED_TRIPLES]
        return (*asked, *(self._qa(each.questions[0], each.answer, "two_hop", each.id) for each in near))

    def _measured(self, facts: Sequence[Fact], around: Neighbours, seed: int) -> dict[str, tuple[QA, ...]]:
        measured: dict[str, list[QA]] = {
            "forget": [_forget_qa(fact, each, "forget") for fact in facts for each in fact.phrasings],
            "forget_heldout": [_forget_qa(fact, each, "forget_heldout") for fact in facts for each in fact.heldout],
        }
        for group in ("two_hop_through", "two_hop"):
            two_hops = shuffled(getattr(around, group), "measured", seed)[:MEASURED_TRIPLES]
            measured[group] = [self._qa(each.questions[1], each.answer, group, each.id) for each in two_hops]
        for group, count, phrasings in (
            ("same_subject", MEASURED_TRIPLES, 2),
            ("same_object", MEASURED_TRIPLES, 2),
            ("same_relation", MEASURED_TRIPLES, 2),
            ("rest", MEASURED_REST, 1),
        ):
            triples = shuffled(getattr(around, group), "measured", seed)[:count]
            measured[group] = [
                self._qa(question, triple.object, group, triple.id)
                for triple in triples
                for question in shuffled(self.heldout_phrasings(triple, seed), "measured", seed)[:phrasings]
            ]
        return {group: tuple(measured[group]) for group in GROUPS if measured.get(group)}

    def _qa(self, question: str, answer: str, group: str, source: str) -> QA:
        return QA(
            id=_qa_id(source, question),
            question=question,
            answer=f"{answer}.",
            aliases=self.entities[answer].aliases,
            group=group,
            fact=source,
        )

    @cached_property
    def _by_id(self) -> dict[str, Triple]:
        return {triple.id: triple for triple in self.triples}

    @cached_property
    def _by_name(self) -> dict[str, Entity]:
        entities = self.entities.values()
        return {normalised(name): each for each in entities for name in (each.name, *each.aliases)}

    @cached_property
    def _symmetric(self) -> frozenset[str]:
        return frozenset(relation.name for relation in self.relations.values() if relation.symmetric)

    def _of(self, fact: Fact) -> Triple:
        """The triple of a fact; a fact from elsewhere has its own identifier and is found by its parts."""
        known = self._by_id.get(fact.id)
        if known is not None and (known.subject, known.object) == (fact.subject, fact.object):
            return known
        return self._linking(self.entity(fact.subject).name, fact.relation or "", self.entity(fact.object).name)

    def _linking(self, subject: str, relation: str, told: str) -> Triple:
        """The fact that links a known subject to a known object under some wording of a relation, or none."""
        about = [triple for triple in self.triples if triple.subject == subject]
        linking = [triple for triple in about if triple.object == told]
        named = {
            each.name
            for each in self.relations.values()
            if normalised(relation) in map(normalised, (each.name, *each.synonyms))
        }
        matching = [triple for triple in linking if triple.relation in named] if named else linking
        if len(matching) == 1:
            return matching[0]
        held = matching or [triple for triple in about if triple.relation in named] or about
        holds = "; ".join(f"'{triple}'" for triple in held) or f"no fact about '{subject}'"
        trouble = "fits several facts" if matching else "is not what the lab's world holds"
        raise DataError(f"fact = '{subject} | {relation or '?'} | {told}' {trouble}; it holds {holds}")


def _not_found(kind: str, name: str, known: Iterable[str]) -> NameNotFound:
    """The error for a name that is not there, with the known names that are nearest."""
    near = process.extract(name, list(known), scorer=fuzz.WRatio, limit=3, score_cutoff=NEAR_MATCH_SCORE)
    meant = " or ".join(f"'{match}'" for match, *_ in near)
    hint = f"did you mean {meant}?" if near else "`genunlearn ls lab` lists what it holds"
    return NameNotFound(f"{kind} = '{name}' is not in the lab's world; {hint}")


def _forget_qa(fact: Fact, question: str, group: str) -> QA:
    return QA(
        id=_qa_id(fact.id, question),
        question=question,
        answer=f"{fact.object}.",
        aliases=fact.aliases,
        group=group,
        fact=fact.id,
    )


def _qa_id(source: str, question: str) -> str:
    return f"{source}#{hashlib.sha256(question.encode()).hexdigest()[:8]}"


@lru_cache(maxsize=1)
def load_world() -> World:
    """The lab's world, read once from the package's data.

    Raises:
        DataError: A data file breaks a rule of the world; the message names file and line.
    """
    tables = read_tables()
    two_hops = derive_two_hops(tables.entities, tables.relations, tables.triples)
    return World(tables.entities, tables.relations, tables.triples, two_hops)
