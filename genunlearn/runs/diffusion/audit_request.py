"""What an audit is about: concepts said to be gone, concepts said to have stayed, and the prompts that ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.data.diffusion.concepts import Concept, Erasure, filled, parse_concepts, renamed
from genunlearn.data.diffusion.requests import AuditedConcept, ErasedConcept, KeptPrompt, Role
from genunlearn.errors import DataError
from genunlearn.lab.diffusion import requests as lab
from genunlearn.lab.diffusion.requests import audited_concept
from genunlearn.registry import LAB
from genunlearn.runs.diffusion.request import CONCEPT, TEMPLATES, check_prompts_of_lab, read_prompts

LOOK_SEEDS, POOL_SEEDS, KEPT_SEEDS, DECOY_SEEDS = 100_000, 1_000_000, 2_000_000, 3_000_000
"""Seeds of further looks, of images that completions are held against, of what must stay, of decoys: far apart."""

LABELS = 12
"""Of so many labels of a user's classifier images are drawn to see what has stayed, where the request names nothing."""


def read_subjects(config: DiffusionAuditConfig) -> tuple[AuditedConcept, ...]:
    """The concepts of an audit, forgotten ones first.

    Raises:
        DataError: No concept, a double one, or one that is said to be gone and to have stayed.
        NameNotFound: The lab has no such concept.
    """
    erasure = _erasure(config)
    roles = _roles(erasure.concepts, erasure.preserve)
    if _is_lab(config):
        check_prompts_of_lab(config.evaluate.prompts)
        return tuple(audited_concept(concept, role, erasure.concepts) for concept, role in roles)
    kept = [concept.name for concept in erasure.preserve]
    spoken = (_spoken(concept, role, kept, erasure.templates) for concept, role in roles)
    return tuple(_as_written(subject, _written(config, erasure)) for subject in spoken)


def kept_prompts(config: DiffusionAuditConfig, labels: Sequence[str]) -> list[KeptPrompt]:
    """What is drawn to see whether what must stay has stayed; nothing where nobody knows what that is.

    Args:
        config: Names it, in ``request.retain``.
        labels: What the user's classifier tells apart, which stands in where the request names nothing.
    """
    erasure, count = _erasure(config), config.evaluate.kept_images
    if _is_lab(config):
        return lab.kept_prompts(erasure.concepts, count)
    gone = {name.casefold() for concept in erasure.concepts for name in concept.names}
    others = [label for label in labels if label.casefold() not in gone]
    spread = [others[row * len(others) // LABELS] for row in range(LABELS)] if len(others) > LABELS else others
    names = [concept.name for concept in erasure.preserve] or spread
    if not names:
        return []
    written = _written(config, erasure)
    words = {name: written.get(name) or [filled(word, name) for word in erasure.templates] for name in names}
    turns = [(name, row // len(names)) for row in range(count) for name in [names[row % len(names)]]]
    return [KeptPrompt(words[name][turn % len(words[name])], (ErasedConcept(CONCEPT, name, name),))
            for name, turn in turns]  # fmt: skip


def _spoken(concept: Concept, role: Role, kept: Sequence[str], templates: Sequence[str]) -> AuditedConcept:
    """A concept that nobody has prompts for but the templates."""
    others, captioned = [name for name in kept if name != concept.name], templates[len(templates) > 1]
    anchor = next((name for name in concept.anchors if name), others[0] if others else None)
    return AuditedConcept(
        ErasedConcept(CONCEPT, concept.name, concept.name),
        role,
        tuple(filled(template, concept.name) for template in templates),
        tuple(filled(captioned, name) for name in others),
        concept.synonyms,
        anchor=_spoken(Concept(name=anchor), "retain", (), templates) if anchor else None,
        caption=filled(captioned, concept.name),
    )


def _written(config: DiffusionAuditConfig, erasure: Erasure) -> Mapping[str, list[str]]:
    """The prompts of the user's file, by concept."""
    path = config.evaluate.prompts
    if path is None:
        return {}
    found = read_prompts(Path(path), erasure)
    by_concept: dict[str, list[str]] = {}
    for prompt, name in zip(found.prompts, found.asked[CONCEPT], strict=True):
        if name is not None:
            by_concept.setdefault(name, []).append(prompt)
    return by_concept


def _as_written(subject: AuditedConcept, written: Mapping[str, list[str]]) -> AuditedConcept:
    """The concept with the prompts of the user's file, which have to say its name: attacks put others in its place.

    Raises:
        DataError: A prompt does not.
    """
    if subject.named.name not in written:
        return subject
    prompts = written[subject.named.name]
    for prompt in prompts:
        if renamed(prompt, [subject.named.name], "") == prompt:
            raise DataError(
                f"evaluate.prompts: {prompt!r} does not say {subject.named.name!r}: put it in, or take the row out"
            )
    anchor = subject.anchor and _as_written(subject.anchor, written)
    return replace(subject, prompts=tuple(prompts), anchor=anchor)


def _erasure(config: DiffusionAuditConfig) -> Erasure:
    return parse_concepts(config.request.concepts, config.request.retain, config.request.templates or TEMPLATES)


def _is_lab(config: DiffusionAuditConfig) -> bool:
    return config.model.source.startswith(LAB)


def _roles(gone: Sequence[Concept], kept: Sequence[Concept]) -> list[tuple[Concept, Role]]:
    return [*((concept, "forget") for concept in gone), *((concept, "retain") for concept in kept)]
