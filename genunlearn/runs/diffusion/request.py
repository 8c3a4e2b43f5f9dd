"""What an erasure run is about: its concepts, the prompts a method learns from, and the prompts that are measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genunlearn.config import ConceptConfig
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import (
    ConceptPrompt,
    Erasure,
    forget_prompts,
    parse_concepts,
    preserve_prompts,
)
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import hash_json
from genunlearn.registry import LAB, LABS

AUTO = "auto"
TEMPLATES = ("{}", "a photo of {}", "an image of {}", "a picture of {}")
"""Prompts around a concept where the request gives none."""

USUAL, HELD_OUT = "", "held-out prompts"
"""Sets of measured prompts; the first has no name of its own in results."""

CONCEPT = "concept"
"""The only kind of concept that pipelines from elsewhere are asked for."""

KEPT_PER_FORGOTTEN = 4
"""Images of what must stay for each image of what must go."""


@dataclass(frozen=True)
class Named:
    """An erased concept as metrics know it; see `genunlearn.evaluation.diffusion.metrics.NamedConcept`."""

    kind: str
    name: str
    label: str


@dataclass(frozen=True)
class Ask:
    """Prompts that are measured together.

    Attributes:
        prompts: One an image.
        seeds: One an image.
        asked: By kind, the concept that each prompt names.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    asked: Mapping[str, tuple[str | None, ...]]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.prompts)


@dataclass(frozen=True)
class ConceptRequest:
    """A resolved request, before any model has loaded.

    Attributes:
        erased: What has to go.
        splits: The prompts that a method learns from.
        sets: The prompts that are measured, by name of the set.
    """

    erased: tuple[Named, ...]
    splits: Splits
    sets: Mapping[str, Ask]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of a concept, forgotten or preserved, that prompts use."""
        prompts = [*self.splits.forget, *(self.splits.retain or ())]
        return tuple(dict.fromkeys(prompt.concept for prompt in prompts))

    @property
    def sha256(self) -> str:
        """Hash of everything that the request says."""
        return hash_json([repr(item) for item in (*self.splits.forget, *(self.splits.retain or ()))])


def is_lab(config: ConceptConfig) -> bool:
    """Whether the model is the embedded one."""
    return config.model.source.startswith(LAB)


def lab_name(config: ConceptConfig) -> str:
    """The name behind ``lab:``, checked."""
    return LABS.line(config.model.source.removeprefix(LAB)).name


def read_request(config: ConceptConfig) -> ConceptRequest:
    """Read and check what a configuration asks to be forgotten.

    Raises:
        DataError: No concept, a double one, one that is also to be preserved, or a file that cannot be used.
        NameNotFound: The lab has no such concept or model.
    """
    request, count = config.request, config.evaluate.images
    if is_lab(config):
        lab_name(config)
        return lab_request(request.concepts, request.preserve, count)
    if AUTO in request.preserve:
        raise DataError("request.preserve = auto is for the lab, which knows its concepts: name what must stay")
    erasure = parse_concepts(request.concepts, request.preserve, request.templates or TEMPLATES)
    splits = Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure) or None)
    erased = tuple(Named(CONCEPT, concept.name, concept.name) for concept in erasure.concepts)
    prompts = config.evaluate.prompts
    sets = {USUAL: _read_csv(Path(prompts), erasure) if prompts else _spoken(erasure, count)}
    return ConceptRequest(erased, splits, sets)


# ---- the lab ----------------------------------------------------------------------------------------------------


def lab_request(concepts: Sequence[str], preserve: Sequence[str], count: int) -> ConceptRequest:
    """A request to the lab, which knows what its prompts ask for.

    Args:
        concepts: ``digit seven``, ``digit seven | 7`` or ``digit seven -> digit one``; without an anchor, the next
            concept of the kind stands in.
        preserve: Concepts that methods may train on to keep; ``auto`` stands for all others of the kinds.
        count: Images of each erased concept.
    """
    from genunlearn.lab.diffusion.digit_prompts import concept_of, neighbours, prompts_naming

    erasure = parse_concepts(concepts, [name for name in preserve if name != AUTO])
    erased = [concept_of(concept.name) for concept in erasure.concepts]
    kept = [concept_of(name) for concept in erasure.preserve for name in concept.names]
    if both := [concept.label for concept in kept if concept in erased]:
        raise DataError(f"{both[0]!r} is both to be forgotten and to be preserved: take it out of one of the two")
    if AUTO in preserve:
        kept += [other for concept in erased for other in neighbours(concept) if other not in erased]
    kept = list(dict.fromkeys(kept))
    forget = []
    for spoken, concept in zip(erasure.concepts, erased, strict=True):
        others = [other for other in neighbours(concept) if other not in erased]
        following = next((other for other in others if other.index > concept.index), others[0])
        for anchor in (concept_of(name) if name else following for name in spoken.anchors):
            for word in (concept.name, *(_word(name, concept) for name in spoken.synonyms)):
                pairs = zip(prompts_naming(concept, word), prompts_naming(anchor), strict=True)
                forget += [_anchored(mine.text, word, other.text, anchor.name) for mine, other in pairs]
    retain = [
        ConceptPrompt(id=prompt.text, prompt=prompt.text, concept=concept.name)
        for turn, concept in enumerate(kept)
        for prompt in _spread(prompts_naming(concept), turn)
    ]
    named = tuple(Named(concept.kind, concept.name, concept.label) for concept in erased)
    splits = Splits(forget=list(dict.fromkeys(forget)), retain=retain or None)
    return ConceptRequest(named, splits, {USUAL: _lab_ask(erased, count), HELD_OUT: _lab_ask(erased, count, True)})


def _word(name: str, concept: object) -> str:
    from genunlearn.lab.diffusion.digit_prompts import concept_of

    if concept_of(name) != concept:
        raise DataError(f"{name!r} is another concept: a synonym has to mean the same")
    return name.lower().split()[-1]


def _anchored(prompt: str, word: str, anchor: str, anchor_word: str) -> ConceptPrompt:
    return ConceptPrompt(
        id=f"{prompt} -> {anchor}", prompt=prompt, concept=word, anchor=anchor, anchor_concept=anchor_word
    )


SPREAD = 7
"""Of so many training prompts one is used to preserve a concept, a different one for the next concept."""


def _spread(prompts: Sequence, turn: int) -> Sequence:
    return prompts[turn % SPREAD :: SPREAD]


def _lab_ask(erased: Sequence, count: int, held_out: bool = False) -> Ask:
    from genunlearn.lab.diffusion.digit_prompts import asked_of, prompt_grid, prompts_for

    prompts = []
    for concept in erased:
        every = prompts_for(concept, held_out=held_out)
        own = [prompt for prompt in every if not any(prompt.names(other) for other in erased if other != concept)]
        step = max(1, len(own) // count)  # few images are spread over all templates
        prompts += [own[number * step % len(own)] for number in range(count)]
    grid = [p for p in prompt_grid(held_out=held_out) if not any(p.names(concept) for concept in erased)]
    prompts += [grid[number % len(grid)] for number in range(KEPT_PER_FORGOTTEN * count)]
    asked = {kind: tuple(names) for kind, names in asked_of(prompts).items()}
    first = len(prompts) if held_out else 0
    return Ask(tuple(prompt.text for prompt in prompts), tuple(range(first, first + len(prompts))), asked)


# ---- pipelines from elsewhere -----------------------------------------------------------------------------------


def _spoken(erasure: Erasure, count: int) -> Ask:
    """The request's own prompts, with the concept's name in the first template."""
    rows: list[tuple[str, str]] = []
    for concept in erasure.concepts:
        rows += [(template.format(concept.name), concept.name) for template in _turns(erasure.templates, count)]
    if erasure.preserve:
        share = -(-KEPT_PER_FORGOTTEN * count // len(erasure.preserve))
        for concept in erasure.preserve:
            rows += [(template.format(concept.name), concept.name) for template in _turns(erasure.templates, share)]
    return Ask(tuple(prompt for prompt, _ in rows), tuple(range(len(rows))), {CONCEPT: tuple(name for _, name in rows)})


def _turns(templates: Sequence[str], count: int) -> list[str]:
    return [templates[number % len(templates)] for number in range(count)]


def _read_csv(path: Path, erasure: Erasure) -> Ask:
    """Prompts of a file with columns ``prompt``, ``concept`` and perhaps ``seed``."""
    if not path.is_file():
        raise SourceNotFound(f"evaluate.prompts = {str(path)!r}: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a UTF-8 CSV file ({error}); save it as one") from None
    if missing := {"prompt", "concept"} - set(reader.fieldnames or ()):
        raise DataError(f"{path}:1: no column {sorted(missing)[0]!r}; the columns are prompt, concept, seed")
    if not rows:
        raise DataError(f"{path}: no prompts; give at least one row")
    seeds = []
    for number, row in enumerate(rows):
        if not (row["prompt"] or "").strip():
            raise DataError(f"{path}:{number + 2}: an empty prompt; fill it in or take the row out")
        try:
            seeds.append(int(row.get("seed") or number))
        except ValueError:
            raise DataError(f"{path}:{number + 2}: seed = {row['seed']!r} is not a whole number") from None
    names = [(row["concept"] or "").strip() or None for row in rows]
    for concept in erasure.concepts:
        if concept.name not in names:
            raise DataError(f"{path}: no row names the concept {concept.name!r} in its column 'concept'; add some")
    return Ask(tuple(row["prompt"].strip() for row in rows), tuple(seeds), {CONCEPT: tuple(names)})
