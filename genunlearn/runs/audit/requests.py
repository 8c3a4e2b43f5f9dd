"""What an audit is about: concepts said to be gone, concepts said to have stayed, and the prompts that ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genunlearn.config import AuditConfig
from genunlearn.data.diffusion.concepts import Concept, parse_concepts
from genunlearn.ops.concealment import Role
from genunlearn.registry import LAB
from genunlearn.runs.diffusion.request import CONCEPT, TEMPLATES, Named

POOL_SEEDS = 1_000_000
"""Seeds of the images that completions are held against begin here, far from all others."""


@dataclass(frozen=True)
class Subject:
    """One concept of an audit.

    Attributes:
        named: As metrics know it.
        role: Whether it should be gone or should have stayed.
        prompts: What asks for it; images take turns in them.
        neighbours: Prompts that ask for other concepts of its kind.
        synonyms: Its other names.
        paraphrases: Prompts that ask for it in words that no training has seen; empty where nobody knows any.
    """

    named: Named
    role: Role
    prompts: tuple[str, ...]
    neighbours: tuple[str, ...]
    synonyms: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()

    def turns(self, count: int) -> tuple[str, ...]:
        """`count` prompts, in turn."""
        return tuple(self.prompts[number % len(self.prompts)] for number in range(count))


def read_subjects(config: AuditConfig) -> tuple[Subject, ...]:
    """The concepts of an audit, forgotten ones first.

    Raises:
        DataError: No concept, a double one, or one that is said to be gone and to have stayed.
        NameNotFound: The lab has no such concept.
    """
    request = config.request
    erasure = parse_concepts(request.concepts, request.retain)
    if config.model.source.startswith(LAB):
        return tuple(_of_lab(concept, role) for concept, role in _roles(erasure.concepts, erasure.preserve))
    kept = [concept.name for concept in erasure.preserve]
    return tuple(
        Subject(
            Named(CONCEPT, concept.name, concept.name),
            role,
            tuple(template.format(concept.name) for template in TEMPLATES),
            tuple(TEMPLATES[1].format(name) for name in kept if name != concept.name),
            concept.synonyms,
        )
        for concept, role in _roles(erasure.concepts, erasure.preserve)
    )


def _roles(gone: Sequence[Concept], kept: Sequence[Concept]) -> list[tuple[Concept, Role]]:
    return [*((concept, "forget") for concept in gone), *((concept, "retain") for concept in kept)]


def _of_lab(spoken: Concept, role: Role) -> Subject:
    from genunlearn.lab.diffusion.digit_prompts import SYNONYMS, concept_of, neighbours, prompt_grid, prompts_for

    concept = concept_of(spoken.name)
    others = neighbours(concept)
    return Subject(
        Named(concept.kind, concept.name, concept.label),
        role,
        tuple(prompt.text for prompt in prompts_for(concept)),
        tuple(prompt.text for prompt in prompt_grid() if any(prompt.names(other) for other in others)),
        (SYNONYMS[concept.name],),
        tuple(prompt.text for prompt in prompts_for(concept, held_out=True)),
    )
