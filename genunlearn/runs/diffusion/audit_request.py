"""What an audit is about: concepts said to be gone, concepts said to have stayed, and the prompts that ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.data.diffusion.concepts import Concept, Erasure, parse_concepts
from genunlearn.data.diffusion.requests import AuditedConcept, ErasedConcept, KeptPrompt, Role
from genunlearn.lab.diffusion import requests as lab
from genunlearn.lab.diffusion.requests import audited_concept
from genunlearn.registry import LAB
from genunlearn.runs.diffusion.request import CONCEPT, TEMPLATES

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
        return tuple(audited_concept(concept, role, erasure.concepts) for concept, role in roles)
    kept = [concept.name for concept in erasure.preserve]
    return tuple(_spoken(concept, role, kept, erasure.templates) for concept, role in roles)


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
    words = erasure.templates
    turns = [(names[row % len(names)], words[row // len(names) % len(words)]) for row in range(count)]
    return [KeptPrompt(template.format(name), (ErasedConcept(CONCEPT, name, name),)) for name, template in turns]


def _spoken(concept: Concept, role: Role, kept: Sequence[str], templates: Sequence[str]) -> AuditedConcept:
    """A concept that nobody has prompts for but the templates."""
    others = [name for name in kept if name != concept.name]
    anchor = next((name for name in concept.anchors if name), others[0] if others else None)
    return AuditedConcept(
        ErasedConcept(CONCEPT, concept.name, concept.name),
        role,
        tuple(template.format(concept.name) for template in templates),
        tuple(templates[len(templates) > 1].format(name) for name in others),
        concept.synonyms,
        anchor=_spoken(Concept(name=anchor), "retain", (), templates) if anchor else None,
    )


def _erasure(config: DiffusionAuditConfig) -> Erasure:
    return parse_concepts(config.request.concepts, config.request.retain, config.request.templates or TEMPLATES)


def _is_lab(config: DiffusionAuditConfig) -> bool:
    return config.model.source.startswith(LAB)


def _roles(gone: Sequence[Concept], kept: Sequence[Concept]) -> list[tuple[Concept, Role]]:
    return [*((concept, "forget") for concept in gone), *((concept, "retain") for concept in kept)]
