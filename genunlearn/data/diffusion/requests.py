"""What an erasure, or an audit of one, is about: concepts, and the prompts that are learnt from and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from genunlearn.contracts import Splits
from genunlearn.records import hash_json

USUAL, HELD_OUT = "", "held-out prompts"
"""Sets of measured prompts; the first has no name of its own in results."""

KEPT_PER_FORGOTTEN = 4
"""Images of what must stay for each image of what must go."""

Role = Literal["forget", "retain"]


@dataclass(frozen=True)
class ErasedConcept:
    """An erased concept as metrics know it; see `genunlearn.evaluation.diffusion.metrics.NamedConcept`."""

    kind: str
    name: str
    label: str


@dataclass(frozen=True)
class PromptSet:
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

    def rows(self, concept: ErasedConcept) -> list[int]:
        """Numbers of the images that name a concept."""
        return [row for row, name in enumerate(self.asked[concept.kind]) if name == concept.name]


@dataclass(frozen=True)
class ErasureRequest:
    """A resolved request, before any model has loaded.

    Attributes:
        erased: What has to go.
        splits: The prompts that a method learns from.
        sets: The prompts that are measured, by name of the set.
    """

    erased: tuple[ErasedConcept, ...]
    splits: Splits[None]
    sets: Mapping[str, PromptSet]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of a concept, forgotten or preserved, that prompts use."""
        prompts = [*self.splits.forget, *(self.splits.retain or ())]
        return tuple(dict.fromkeys(prompt.concept for prompt in prompts))

    @property
    def sha256(self) -> str:
        """Hash of everything that the request says."""
        learnt = (*self.splits.forget, *(self.splits.retain or ()))
        return hash_json([repr(item) for item in (*learnt, *self.sets.items())])


@dataclass(frozen=True)
class AuditedConcept:
    """One concept of an audit.

    Attributes:
        named: As metrics know it.
        role: Whether it should be gone or should have stayed.
        prompts: What asks for it; images take turns in them.
        neighbours: Prompts that ask for other concepts of its kind.
        synonyms: Its other names.
        paraphrases: Prompts that ask for it in words that no training has seen; empty where nobody knows any.
        anchor: What is drawn in its place, and what stands in for an oracle where there is none; None if unknown.
        caption: With what CLIP compares images, worded as `neighbours` are.
    """

    named: ErasedConcept
    role: Role
    prompts: tuple[str, ...]
    neighbours: tuple[str, ...]
    synonyms: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    anchor: AuditedConcept | None = None
    caption: str = ""

    @property
    def label(self) -> str:
        """How reports name it."""
        return self.named.label

    def turns(self, count: int) -> tuple[str, ...]:
        """`count` prompts, in turn."""
        return tuple(self.prompts[number % len(self.prompts)] for number in range(count))


@dataclass(frozen=True)
class KeptPrompt:
    """A prompt that names nothing that should be gone.

    Attributes:
        text: The prompt.
        concepts: What its image has to show.
    """

    text: str
    concepts: tuple[ErasedConcept, ...]
