"""Requests to the lab's pipeline, which knows what its prompts ask for."""

from __future__ import annotations

from collections.abc import Sequence

from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import Concept, ConceptPrompt, parse_concepts
from genunlearn.data.diffusion.requests import (
    HELD_OUT,
    KEPT_PER_FORGOTTEN,
    USUAL,
    AuditedConcept,
    ErasedConcept,
    ErasureRequest,
    KeptPrompt,
    PromptSet,
    Role,
)
from genunlearn.errors import DataError
from genunlearn.lab.diffusion.digit_prompts import (
    NAMES,
    SYNONYMS,
    asked_of,
    concept_of,
    neighbours,
    prompt_grid,
    prompts_for,
    prompts_naming,
)
from genunlearn.lab.diffusion.digit_prompts import Concept as LabConcept

EVERY_OTHER = "auto"
"""Stands among the preserved concepts for all others of the kinds."""


def erasure_request(concepts: Sequence[str], preserve: Sequence[str], count: int) -> ErasureRequest:
    """A request to the lab, which knows what its prompts ask for.

    Args:
        concepts: ``digit seven``, ``digit seven | 7`` or ``digit seven -> digit one``; without an anchor, the next
            concept of the kind stands in.
        preserve: Concepts that methods may train on to keep; ``auto`` stands for all others of the kinds.
        count: Images of each erased concept.
    """
    erasure = parse_concepts(concepts, [name for name in preserve if name != EVERY_OTHER])
    erased = [concept_of(concept.name) for concept in erasure.concepts]
    kept = [concept_of(name) for concept in erasure.preserve for name in concept.names]
    if both := [concept.label for concept in kept if concept in erased]:
        raise DataError(f"{both[0]!r} is both to be forgotten and to be preserved: take it out of one of the two")
    if EVERY_OTHER in preserve:
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
    named = tuple(ErasedConcept(concept.kind, concept.name, concept.label) for concept in erased)
    splits: Splits[None] = Splits(forget=list(dict.fromkeys(forget)), retain=retain or None)
    return ErasureRequest(named, splits, {USUAL: _lab_ask(erased, count), HELD_OUT: _lab_ask(erased, count, True)})


def _word(name: str, concept: object) -> str:
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


def _lab_ask(erased: Sequence, count: int, held_out: bool = False) -> PromptSet:
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
    return PromptSet(tuple(prompt.text for prompt in prompts), tuple(range(first, first + len(prompts))), asked)


def audited_concept(spoken: Concept, role: Role, gone: Sequence[Concept] = ()) -> AuditedConcept:
    """A concept of the lab under audit, with every prompt that the lab has for it.

    Args:
        spoken: The concept; where it names no anchor, the next one of its kind that is not gone is it.
        role: Whether it should be gone.
        gone: All concepts that should be.
    """
    concept, forgotten = concept_of(spoken.name), {concept_of(other.name) for other in gone}
    others = [other for other in neighbours(concept) if other not in forgotten]
    named = next((name for name in spoken.anchors if name), None)
    following = next((other for other in others if other.index > concept.index), others[0] if others else None)
    return _audited(concept, role, concept_of(named) if named else following)


def _audited(concept: LabConcept, role: Role, anchor: LabConcept | None) -> AuditedConcept:
    others = neighbours(concept)
    return AuditedConcept(
        ErasedConcept(concept.kind, concept.name, concept.label),
        role,
        tuple(prompt.text for prompt in prompts_for(concept)),
        tuple(prompt.text for prompt in prompt_grid() if any(prompt.names(other) for other in others)),
        (SYNONYMS[concept.name],),
        tuple(prompt.text for prompt in prompts_for(concept, held_out=True)),
        _audited(anchor, "retain", None) if anchor else None,
    )


def kept_prompts(gone: Sequence[Concept], count: int) -> list[KeptPrompt]:
    """`count` prompts that name none of `gone`: digits and styles take turns, in the plainest words.

    Raises:
        DataError: Nothing is left without them.
    """
    forgotten = [concept_of(concept.name) for concept in gone]
    left = [prompt for prompt in prompt_grid() if not any(prompt.names(concept) for concept in forgotten)]
    if not left:
        raise DataError("the lab draws nothing besides these concepts: name fewer")
    chosen = [left[number * len(left) // count] for number in range(count)]
    return [KeptPrompt(prompt.text, tuple(_erased(kind, getattr(prompt, kind)) for kind in NAMES)) for prompt in chosen]


def _erased(kind: str, name: str) -> ErasedConcept:
    return ErasedConcept(kind, name, LabConcept(kind, name).label)
