"""What an erasure run is about: its concepts, the prompts a method learns from, and the prompts that are measured."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from genunlearn.config.diffusion import DiffusionConfig
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import Erasure, filled, forget_prompts, parse_concepts, preserve_prompts
from genunlearn.data.diffusion.requests import KEPT_PER_FORGOTTEN, USUAL, ErasedConcept, ErasureRequest, PromptSet
from genunlearn.errors import ConfigError, DataError, SourceNotFound
from genunlearn.lab.diffusion.requests import EVERY_OTHER, erasure_request
from genunlearn.registry import LAB, LABS

TEMPLATES = ("{}", "a photo of {}", "an image of {}", "a picture of {}")
"""Prompts around a concept where the request gives none."""

CONCEPT = "concept"
"""The only kind of concept that pipelines from elsewhere are asked for."""


def is_lab(config: DiffusionConfig) -> bool:
    """Whether the model is the embedded one."""
    return config.model.source.startswith(LAB)


def lab_name(config: DiffusionConfig) -> str:
    """The name behind ``lab:``, checked."""
    return LABS.line(config.model.source.removeprefix(LAB), "diffusion").name


def read_request(config: DiffusionConfig) -> ErasureRequest:
    """Read and check what a configuration asks to be forgotten.

    Raises:
        DataError: No concept, a double one, one that is also to be preserved, or a file that cannot be used.
        NameNotFound: The lab has no such concept or model.
    """
    request, count = config.request, config.evaluate.images
    if is_lab(config):
        lab_name(config)
        check_prompts_of_lab(config.evaluate.prompts)
        return erasure_request(request.concepts, request.preserve, count)
    if EVERY_OTHER in request.preserve:
        raise DataError("request.preserve = auto is for the lab, which knows its concepts: name what must stay")
    erasure = parse_concepts(request.concepts, request.preserve, request.templates or TEMPLATES)
    splits: Splits[None] = Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure) or None)
    erased = tuple(ErasedConcept(CONCEPT, concept.name, concept.name) for concept in erasure.concepts)
    prompts = config.evaluate.prompts
    sets = {USUAL: read_prompts(Path(prompts), erasure) if prompts else _spoken(erasure, count)}
    return ErasureRequest(erased, splits, sets)


def check_prompts_of_lab(prompts: str | None) -> None:
    """Refuse a file of prompts that nobody would read."""
    if prompts:
        raise ConfigError(f"evaluate.prompts = {prompts!r} is for other pipelines: the lab has prompts of its own")


# ---- pipelines from elsewhere -----------------------------------------------------------------------------------


def _spoken(erasure: Erasure, count: int) -> PromptSet:
    """The request's own prompts, with the concept's name in the first template."""
    rows: list[tuple[str, str]] = []
    for concept in erasure.concepts:
        rows += [(filled(template, concept.name), concept.name) for template in _turns(erasure.templates, count)]
    if erasure.preserve:
        share = -(-KEPT_PER_FORGOTTEN * count // len(erasure.preserve))
        for concept in erasure.preserve:
            rows += [(filled(template, concept.name), concept.name) for template in _turns(erasure.templates, share)]
    names = {CONCEPT: tuple(name for _, name in rows)}
    return PromptSet(tuple(prompt for prompt, _ in rows), tuple(range(len(rows))), names)


def _turns(templates: Sequence[str], count: int) -> list[str]:
    return [templates[number % len(templates)] for number in range(count)]


def read_prompts(path: Path, erasure: Erasure) -> PromptSet:
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
    return PromptSet(tuple(row["prompt"].strip() for row in rows), tuple(seeds), {CONCEPT: tuple(names)})
