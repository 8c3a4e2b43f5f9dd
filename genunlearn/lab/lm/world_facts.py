"""The facts of the world that ``lab:smollm2`` knows, as a world like the lab's own: facts, scope, neighbours.

``world_facts.json`` is made by ``scripts/bench/world_facts/make.py``, which asks the model: every phrasing in it is one
that the model answers with the truth. Its first phrasings of a fact are those that unlearning may use; the others are
held out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from typing_extensions import override

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.lab.lm.triples import Entity, Relation, Triple, shuffled
from genunlearn.lab.lm.world import World, load_world

REAL_LAB = "smollm2"
"""The embedded model that was not trained here: it has these facts, no oracle, and is asked like any other."""

FILE = Path(__file__).with_name("world_facts.json")


@dataclass(frozen=True, eq=False)
class WorldFacts(World):
    """A world whose phrasings belong to each fact rather than to its relation.

    Attributes:
        trained: The phrasings that unlearning may use, by identifier of the fact.
        heldout: Those that it never sees.
    """

    trained: dict[str, tuple[str, ...]] = field(default_factory=dict)
    heldout: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @override
    def questions(self, triple: Triple) -> tuple[str, ...]:
        return self.trained[triple.id] + self.heldout[triple.id]

    def trained_phrasings(self, triple: Triple, seed: int = 0) -> tuple[str, ...]:
        """Phrasings that unlearning may use, whatever the seed."""
        return self.trained[triple.id]

    def heldout_phrasings(self, triple: Triple, seed: int = 0) -> tuple[str, ...]:
        """Phrasings that unlearning never sees, whatever the seed."""
        return self.heldout[triple.id]

    def neutral_texts(self, count: int, exclude: Sequence[str] = ()) -> tuple[str, ...]:
        """Plain statements of facts, to measure perplexity on; none of the facts `exclude`."""
        drawn = shuffled((triple for triple in self.triples if triple.id not in exclude), "neutral")[:count]
        return tuple(self.statements(triple)[0] for triple in drawn)


@lru_cache(maxsize=1)
def load_world_facts() -> WorldFacts:
    """The facts that the model knows, read once from the package's data.

    Raises:
        SourceNotFound: There is no such file.
        DataError: The file is damaged.
    """
    if not FILE.is_file():
        raise SourceNotFound(f"{FILE}: not there: `python scripts/bench/world_facts/make.py` writes it")
    try:
        data = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{FILE}: cannot be read ({error}); reinstall genunlearn") from error
    return read(data)


def world_of(lab: str) -> World:
    """The facts that the embedded language model of that name knows; errors as in `load_world_facts`."""
    return load_world_facts() if lab == REAL_LAB else load_world()


def read(data: dict[str, Any]) -> WorldFacts:
    """The world in the content of a file."""
    entities: dict[str, Entity] = {}
    relations = {each["relation"]: _relation(each) for each in data["relations"]}
    for row in data["facts"]:
        types = relations[row["relation"]]
        _add(entities, row["subject"], types.subject_types[0], (), row.get("article", ""))
        _add(entities, row["object"], types.object_types[0], row["aliases"], "")
    triples = tuple(Triple(row["id"], row["subject"], row["relation"], row["object"]) for row in data["facts"])
    phrasings = {
        kind: {row["id"]: tuple(pair["question"] for pair in row[kind]) for row in data["facts"]}
        for kind in ("questions", "heldout")
    }
    return WorldFacts(entities, relations, triples, (), phrasings["questions"], phrasings["heldout"])


def _relation(row: dict[str, Any]) -> Relation:
    subject, told = row["types"]
    return Relation(
        name=row["relation"],
        subject_types=(subject,),
        object_types=(told,),
        statements=(row["statement"],),
        questions=(),
        two_hop="",
        synonyms=tuple(row["synonyms"]),
        symmetric=row["symmetric"],
    )


def _add(entities: dict[str, Entity], name: str, kind: str, aliases: Sequence[str], article: str) -> None:
    """Enter a thing; one that is entered twice keeps its first kind and gathers its other names."""
    old = entities.get(name, Entity(name, kind, (), article))
    entities[name] = Entity(name, old.type, tuple(dict.fromkeys((*old.aliases, *aliases))), old.article or article)
