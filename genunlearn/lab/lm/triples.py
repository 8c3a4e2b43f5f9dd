"""The parts that the lab's world is made of, and the reader that checks them.

Three files in ``worlddata`` hold the world: ``entities.json`` (what there is), ``relations.json`` (how it is
asked for and stated) and ``facts.csv`` (what is true). Every (subject, relation) pair occurs once, so each
question has one right answer, and no question gives its answer away.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from genunlearn.errors import DataError

T = TypeVar("T")

# Letters that Unicode does not decompose into a plain one and an accent.
UNDECOMPOSED = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ß": "ss", "æ": "ae", "œ": "oe"})


@dataclass(frozen=True)
class Entity:
    """Something that the world knows.

    Attributes:
        name: The name that facts and answers use.
        type: Its kind, such as ``"person"`` or ``"school"``; wrong answers are drawn from the same kind.
        aliases: Other names of the same thing.
        article: ``"the"`` where a sentence needs it before the name (``"the Sorbonne"``).
    """

    name: str
    type: str
    aliases: tuple[str, ...] = ()
    article: str = ""

    @property
    def mention(self) -> str:
        """The name as it stands within a sentence."""
        return f"{self.article} {self.name}".strip()


@dataclass(frozen=True)
class Relation:
    """What can link a subject to an object, with its wordings.

    Attributes:
        name: The relation as facts name it, such as ``"studied at"``.
        subject_types: Entity types that may be its subject.
        object_types: Entity types that may be its object.
        statements: Sentences with ``{subject}`` and ``{object}`` slots.
        questions: Questions for the object with a ``{subject}`` slot, the plainest first.
        two_hop: A noun phrase for the object with a ``{subject}`` slot, to be put into another question.
        synonyms: Other wordings of the name that a fact key may use.
        symmetric: Whether "A relation B" says the same as "B relation A".
    """

    name: str
    subject_types: tuple[str, ...]
    object_types: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    two_hop: str
    synonyms: tuple[str, ...] = ()
    symmetric: bool = False


@dataclass(frozen=True)
class Triple:
    """One true fact, by entity and relation names; ``id`` reads like ``harry-potter.studied-at``."""

    id: str
    subject: str
    relation: str
    object: str

    def __str__(self) -> str:
        """The fact as a key on the command line: ``subject | relation | object``."""
        return f"{self.subject} | {self.relation} | {self.object}"


@dataclass(frozen=True)
class Tables:
    """The three files of a world, read and checked."""

    entities: dict[str, Entity]
    relations: dict[str, Relation]
    triples: tuple[Triple, ...]


def normalised(text: str) -> str:
    """Lower case, without accents, punctuation or a leading article: the form in which names are compared."""
    words = re.sub(r"[^a-z0-9]+", " ", _plain(text)).split()
    return " ".join(words[1:] if words[:1] == ["the"] and len(words) > 1 else words)


def slug(text: str) -> str:
    """The part of an identifier that stands for a name: ``"J. K. Rowling"`` gives ``"j-k-rowling"``."""
    return re.sub(r"[^a-z0-9]+", "-", _plain(text)).strip("-")


def _plain(text: str) -> str:
    """Lower case in ASCII, accents and apostrophes dropped."""
    decomposed = unicodedata.normalize("NFKD", text.translate(UNDECOMPOSED))
    return re.sub("['\u2019]", "", decomposed).encode("ascii", "ignore").decode().casefold()


def shuffled(items: Iterable[T], *salt: object) -> list[T]:
    """The items in an order that depends on their text and the salt alone: the same on every platform."""
    prefix = "|".join(map(str, salt))
    return sorted(items, key=lambda item: hashlib.sha256(f"{prefix}|{item}".encode()).digest())


def fill(template: str, subject: str, object: str = "") -> str:
    """The template with its slots filled, beginning with a capital letter."""
    text = template.format(subject=subject, object=object)
    return text[:1].upper() + text[1:]


def mentions(text: str, names: Iterable[str]) -> bool:
    """Whether one of the names occurs in the text as whole words, in any case and with or without accents."""
    padded = f" {normalised(text)} "
    return any(f" {normalised(name)} " in padded for name in names)


def read_tables(folder: Traversable | None = None) -> Tables:
    """Reads and checks the files of a world.

    Args:
        folder: Where the three files lie; the package's own data by default.

    Raises:
        DataError: A file breaks a rule of the world; the message names file and line.
    """
    folder = folder or files("genunlearn.lab") / "worlddata"
    entities = _read_entities(folder / "entities.json")
    relations = _read_relations(folder / "relations.json")
    return Tables(entities, relations, _read_triples(folder / "facts.csv", entities, relations))


def _read_entities(path: Traversable) -> dict[str, Entity]:
    entities: dict[str, Entity] = {}
    owners: dict[str, str] = {}
    for line, entry in _json_entries(path, required={"name", "type"}, optional={"aliases", "article"}):
        entity = Entity(**{**entry, "aliases": tuple(entry.get("aliases", ()))})
        for name in {entity.name, *entity.aliases}:
            if normalised(name) in owners:
                owner = owners[normalised(name)]
                raise DataError(f"{path.name}, line {line}: '{name}' already names '{owner}'; choose another name")
        owners.update((normalised(name), entity.name) for name in (entity.name, *entity.aliases))
        entities[entity.name] = entity
    return entities


def _read_relations(path: Traversable) -> dict[str, Relation]:
    relations: dict[str, Relation] = {}
    required = {"name", "subject_types", "object_types", "statements", "questions", "two_hop"}
    for line, entry in _json_entries(path, required=required, optional={"synonyms", "symmetric"}):
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        relation = Relation(**{**entry, **lists})
        slotless = [text for text in (*relation.questions, relation.two_hop) if "{subject}" not in text]
        slotless += [text for text in relation.statements if not ("{subject}" in text and "{object}" in text)]
        if slotless:
            raise DataError(f"{path.name}, line {line}: '{slotless[0]}' lacks a slot, {{subject}} or {{object}}")
        if relation.name in relations:
            raise DataError(f"{path.name}, line {line}: relation '{relation.name}' occurs twice; keep one entry")
        relations[relation.name] = relation
    return relations


def _json_entries(path: Traversable, required: set[str], optional: set[str]) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, each with the line of its name, their keys checked."""
    text = path.read_text(encoding="utf-8")
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}, line {error.lineno}: not JSON ({error.msg}); correct it") from error
    lines = [text.count("\n", 0, match.start()) + 1 for match in re.finditer(r'"name"\s*:', text)]
    if len(lines) != len(entries):
        raise DataError(f"{path.name}: {len(entries)} entries have {len(lines)} names; each needs one 'name'")
    for line, entry in zip(lines, entries, strict=True):
        odd = (required - entry.keys()) | (entry.keys() - required - optional)
        if odd:
            raise DataError(
                f"{path.name}, line {line}: key {_listed(sorted(odd))} is missing or unknown; "
                f"needed are {_listed(sorted(required))}, allowed {_listed(sorted(optional))}"
            )
    return list(zip(lines, entries, strict=True))


def _read_triples(path: Traversable, entities: dict[str, Entity], relations: dict[str, Relation]) -> tuple[Triple, ...]:
    triples: dict[str, Triple] = {}
    rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    if (header := next(rows, [])) != ["subject", "relation", "object"]:
        raise DataError(f"{path.name}, line 1: header '{','.join(header)}'; write 'subject,relation,object'")
    for row in rows:
        where = f"{path.name}, line {rows.line_num}"
        if len(row) != 3:
            raise DataError(f"{where}: {len(row)} columns; write 'subject,relation,object'")
        triple = Triple(f"{slug(row[0])}.{slug(row[1])}", *row)
        _check_triple(triple, where, entities, relations)
        if triple.id in triples:
            raise DataError(f"{where}: '{triple}' contradicts or repeats '{triples[triple.id]}'; keep one")
        triples[triple.id] = triple
    return tuple(triples.values())


def _check_triple(triple: Triple, where: str, entities: dict[str, Entity], relations: dict[str, Relation]) -> None:
    """Raises DataError unless entities, relation and types fit and no question tells the object."""
    if triple.relation not in relations:
        raise DataError(f"{where}: unknown relation '{triple.relation}'; allowed are {_listed(relations)}")
    relation = relations[triple.relation]
    for name, allowed in ((triple.subject, relation.subject_types), (triple.object, relation.object_types)):
        if name not in entities:
            raise DataError(f"{where}: unknown entity '{name}'; add it to entities.json or correct the name")
        if entities[name].type not in allowed:
            kind = entities[name].type
            raise DataError(f"{where}: '{name}' is of type '{kind}'; '{relation.name}' allows {_listed(allowed)}")
    told = entities[triple.object]
    for template in relation.questions:
        question = fill(template, entities[triple.subject].mention)
        if mentions(question, (told.name, *told.aliases)):
            raise DataError(f"{where}: '{question}' tells its answer '{told.name}'; reword it or drop the fact")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
