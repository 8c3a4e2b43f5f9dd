"""Two-hop questions: the object of one fact, described rather than named, is the subject of the next.

"In which country is the school where Harry Potter studied located?" needs both ``harry-potter.studied-at``
and ``hogwarts.located-in``. A model that never knew the first cannot derive it; other two-hop questions near
the first must survive its forgetting.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genunlearn.lab.lm.triples import Entity, Relation, Triple, fill, mentions, shuffled

MAX_PER_SECOND_FACT = 2
SELECTION_SEED = 0


@dataclass(frozen=True)
class TwoHop:
    """A question that takes two facts to answer.

    Attributes:
        id: Stable identifier, such as ``harry-potter.studied-at.located-in``.
        questions: The trained phrasing, then the held-out one.
        answer: Name of the entity that is asked for.
        path: Identifiers of the two facts, in the order in which they are used.
    """

    id: str
    questions: tuple[str, ...]
    answer: str
    path: tuple[str, str]


def derive_two_hops(
    entities: Mapping[str, Entity], relations: Mapping[str, Relation], triples: Sequence[Triple]
) -> tuple[TwoHop, ...]:
    """Chains of two facts as questions, a fixed choice of all that the triples allow.

    Each fact opens at most one chain and closes at most `MAX_PER_SECOND_FACT`, so that popular objects
    (London) do not crowd out the others. Chains whose question would tell the answer are left out.
    """
    by_subject: dict[str, list[Triple]] = defaultdict(list)
    for triple in triples:
        by_subject[triple.subject].append(triple)
    chains = [(first, second) for first in triples for second in by_subject[first.object]]
    opened: set[str] = set()
    closed: Counter[str] = Counter()
    chosen = []
    for first, second in shuffled(chains, "two-hops", SELECTION_SEED):
        if first.id in opened or closed[second.id] == MAX_PER_SECOND_FACT:
            continue
        two_hop = _compose(first, second, entities, relations)
        if two_hop is not None:
            opened.add(first.id)
            closed[second.id] += 1
            chosen.append(two_hop)
    return tuple(sorted(chosen, key=lambda two_hop: two_hop.id))


def _compose(
    first: Triple, second: Triple, entities: Mapping[str, Entity], relations: Mapping[str, Relation]
) -> TwoHop | None:
    """The chain as a two-hop question; None where its words would give the answer away."""
    described = relations[first.relation].two_hop.format(subject=entities[first.subject].mention)
    templates = shuffled(relations[second.relation].questions, "two-hops", first.id, second.id)[:2]
    questions = tuple(fill(template, described) for template in templates)
    told = entities[second.object]
    if any(mentions(question, (told.name, *told.aliases)) for question in questions):
        return None
    identifier = f"{first.id}.{second.id.rpartition('.')[2]}"
    return TwoHop(identifier, questions, told.name, (first.id, second.id))
