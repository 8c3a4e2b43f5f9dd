"""Which facts and two-hop questions surround the facts that are to be forgotten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from genunlearn.lab.lm.triples import Triple
from genunlearn.lab.lm.twohop import TwoHop


@dataclass(frozen=True)
class Neighbours:
    """The world divided around some forgotten facts; the groups are those of `genunlearn.data.lm.facts`.

    A fact is in one group at most. Facts that say the same as a forgotten one (see `implied`) are in none.
    """

    same_subject: tuple[Triple, ...]
    same_object: tuple[Triple, ...]
    same_relation: tuple[Triple, ...]
    rest: tuple[Triple, ...]
    two_hop: tuple[TwoHop, ...]
    two_hop_through: tuple[TwoHop, ...]


def implied(triple: Triple, triples: Sequence[Triple], symmetric: Collection[str]) -> tuple[Triple, ...]:
    """Facts that state the triple the other way round: who A is married to also tells who B is married to."""
    if triple.relation not in symmetric:
        return ()
    turned = (triple.object, triple.relation, triple.subject)
    return tuple(other for other in triples if (other.subject, other.relation, other.object) == turned)


def neighbours_of(
    forgotten: Sequence[Triple],
    triples: Sequence[Triple],
    two_hops: Sequence[TwoHop],
    symmetric: Collection[str],
) -> Neighbours:
    """Divides the world around the forgotten facts.

    Where a fact fits several groups, the nearest one has it: same subject, then same object (another subject
    with that object, or a fact about the object itself), then same relation, then the rest. A two-hop
    question is *near* when an entity of its path is the subject or object of a forgotten fact and the path
    avoids every forgotten fact.

    Args:
        forgotten: The facts to be forgotten.
        triples: All facts of the world.
        two_hops: All two-hop questions of the world.
        symmetric: Names of the relations that say the same in both directions.
    """
    forgotten_ids = {triple.id for triple in forgotten}
    implied_ids = {other.id for triple in forgotten for other in implied(triple, triples, symmetric)}
    implied_ids -= forgotten_ids
    subjects = {triple.subject for triple in forgotten}
    objects = {triple.object for triple in forgotten}
    relations = {triple.relation for triple in forgotten}

    groups: dict[str, list[Triple]] = {"same_subject": [], "same_object": [], "same_relation": [], "rest": []}
    for triple in triples:
        if triple.id in forgotten_ids | implied_ids:
            continue
        if triple.subject in subjects:
            groups["same_subject"].append(triple)
        elif triple.object in objects or triple.subject in objects:
            groups["same_object"].append(triple)
        elif triple.relation in relations:
            groups["same_relation"].append(triple)
        else:
            groups["rest"].append(triple)

    by_id = {triple.id: triple for triple in triples}
    near, through = [], []
    for two_hop in two_hops:
        steps = [by_id[identifier] for identifier in two_hop.path]
        if forgotten_ids.intersection(two_hop.path):
            through.append(two_hop)
        elif not implied_ids.intersection(two_hop.path) and any(
            {step.subject, step.object} & (subjects | objects) for step in steps
        ):
            near.append(two_hop)
    return Neighbours(
        **{name: tuple(members) for name, members in groups.items()},
        two_hop=tuple(near),
        two_hop_through=tuple(through),
    )
