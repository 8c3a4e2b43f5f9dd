"""What an audit is about: concepts said to be gone, concepts said to have stayed, and the prompts that ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.data.diffusion.concepts import Concept, parse_concepts
from genunlearn.data.diffusion.requests import AuditedConcept, ErasedConcept, Role
from genunlearn.lab.diffusion.requests import audited_concept
from genunlearn.registry import LAB
from genunlearn.runs.diffusion.request import CONCEPT, TEMPLATES

POOL_SEEDS = 1_000_000
"""Seeds of the images that completions are held against begin here, far from all others."""


def read_subjects(config: DiffusionAuditConfig) -> tuple[AuditedConcept, ...]:
    """The concepts of an audit, forgotten ones first.

    Raises:
        DataError: No concept, a double one, or one that is said to be gone and to have stayed.
        NameNotFound: The lab has no such concept.
    """
    request = config.request
    erasure = parse_concepts(request.concepts, request.retain)
    if config.model.source.startswith(LAB):
        return tuple(audited_concept(concept, role) for concept, role in _roles(erasure.concepts, erasure.preserve))
    kept = [concept.name for concept in erasure.preserve]
    return tuple(
        AuditedConcept(
            ErasedConcept(CONCEPT, concept.name, concept.name),
            role,
            tuple(template.format(concept.name) for template in TEMPLATES),
            tuple(TEMPLATES[1].format(name) for name in kept if name != concept.name),
            concept.synonyms,
        )
        for concept, role in _roles(erasure.concepts, erasure.preserve)
    )


def _roles(gone: Sequence[Concept], kept: Sequence[Concept]) -> list[tuple[Concept, Role]]:
    return [*((concept, "forget") for concept in gone), *((concept, "retain") for concept in kept)]
