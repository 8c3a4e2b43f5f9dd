"""The small real world that the lab's language model knows: people, places, works and what links them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from genunlearn.lab.triples import Entity, Relation, Triple, fill, read_tables, shuffled

__all__ = ["Entity", "Relation", "Triple", "World", "load_world"]


@dataclass(frozen=True, eq=False)
class World:
    """Entities, relations and facts by name, with the phrasings that ask for them."""

    entities: dict[str, Entity]
    relations: dict[str, Relation]
    triples: tuple[Triple, ...]

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


@lru_cache(maxsize=1)
def load_world() -> World:
    """The lab's world, read once from the package's data.

    Raises:
        DataError: A data file breaks a rule of the world; the message names file and line.
    """
    tables = read_tables()
    return World(tables.entities, tables.relations, tables.triples)
