"""Concepts to be forgotten by an image model, and the prompts, images and training points made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genunlearn.contracts import Splits, with_sides
from genunlearn.errors import DataError

TEMPLATE = "{}"
ARROW = "->"


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something that can be asked for in a prompt.

    Attributes:
        name: As prompts name it, ``"digit seven"``.
        synonyms: Other names, which have to go with it.
        anchors: What is to come in its place; several share it (debiasing). Empty: nothing in particular.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ("",)

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """A request: what has to go and what has to stay.

    Attributes:
        concepts: What has to go.
        preserve: What has to stay.
        templates: Prompts around a name, with ``{}`` in its place.
    """

    concepts: tuple[Concept, ...]
    preserve: tuple[Concept, ...] = ()
    templates: tuple[str, ...] = (TEMPLATE,)


@dataclass(frozen=True, kw_only=True)
class ConceptPrompt:
    """A prompt that names a concept.

    Attributes:
        id: Stable identifier, unique within a request; caches are keyed by it.
        prompt: The prompt.
        concept: The words of the prompt that name the concept; empty where none do.
        anchor: The prompt with the anchor in the concept's place; empty where there is no anchor.
        anchor_concept: The words of `anchor` that name the anchor.
    """

    id: str
    prompt: str
    concept: str = ""
    anchor: str = ""
    anchor_concept: str = ""


@dataclass(frozen=True, kw_only=True)
class ConceptImage(ConceptPrompt):
    """A prompt with an image: given, or made by the original model from a seed.

    Attributes:
        seed: Seed of the image.
        steps: Denoising steps with which it is made.
        guidance: Guidance scale with which it is made.
        latents: ``(channels, height, width)``, the image as the denoiser works on it; None until it is made.
    """

    seed: int = 0
    steps: int = 50
    guidance: float = 7.5
    latents: Any = None


@dataclass(frozen=True, kw_only=True)
class TrajectoryPoint(ConceptPrompt):
    """One step of a guided trajectory of the original model.

    Attributes:
        seed: Seed of the trajectory.
        steps: Steps of the trajectory.
        guidance: Guidance scale of the trajectory.
        step: Which of its steps, counted from 0 (pure noise).
    """

    seed: int
    steps: int
    guidance: float
    step: int


def parse_concepts(
    concepts: Sequence[str], preserve: Sequence[str] = (), templates: Sequence[str] = (TEMPLATE,)
) -> Erasure:
    """Read a request as people write it.

    Args:
        concepts: ``"name"``, ``"name | synonym | synonym"``, ``"name -> anchor"`` or ``"name -> one & two"``.
        preserve: Names, perhaps with synonyms.
        templates: Prompts with ``{}`` in place of a name.

    Raises:
        DataError: No concept, an empty or double name, a concept that is also to be preserved, or a template
            without its place.
    """
    wanted = tuple(_parse(text) for text in concepts)
    kept = tuple(_parse(text) for text in preserve)
    if not wanted:
        raise DataError("no concept: name at least one that is to be forgotten, for instance 'digit seven'")
    if wrong := [template for template in templates if template.count("{}") != 1]:
        raise DataError(f"template {wrong[0]!r}: it has to have one {{}} in the place of a concept")
    if not templates:
        raise DataError("no template: give at least one, for instance 'a photo of {}'")
    _refuse_doubles([name for concept in wanted for name in concept.names], "concept {!r} is named twice")
    own = {name.casefold() for concept in wanted for name in concept.names}
    for name in (name for concept in kept for name in concept.names):
        if name.casefold() in own:
            raise DataError(f"{name!r} is both to be forgotten and to be preserved: take it out of one of the two")
    return Erasure(concepts=wanted, preserve=kept, templates=tuple(templates))


def forget_prompts(erasure: Erasure) -> list[ConceptPrompt]:
    """Every template with every name and every anchor of the concepts that have to go."""
    return list(_prompts(erasure.concepts, erasure.templates))


def preserve_prompts(erasure: Erasure) -> list[ConceptPrompt]:
    """Every template with every name of the concepts that have to stay."""
    return list(_prompts(erasure.preserve, erasure.templates))


def filled(template: str, name: str) -> str:
    """A template with a name in the place of ``{}``; other braces are text, as ``str.format`` would not have them."""
    return template.replace("{}", name)


def renamed(prompt: str, names: Sequence[str], other: str) -> str:
    """A prompt with another word in the place of each of `names`, where they stand as words."""
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda _: other, prompt)


def augmented(prompts: Sequence[ConceptPrompt], templates: Sequence[str]) -> list[ConceptPrompt]:
    """The prompts and, for each concept with its anchor, further ones made of `templates`."""
    pairs = dict.fromkeys((p.concept, p.anchor_concept) for p in prompts)
    made = [
        ConceptPrompt(
            id=f"{filled(template, concept)} -> {anchor}",
            prompt=filled(template, concept),
            concept=concept,
            anchor=filled(template, anchor) if anchor else "",
            anchor_concept=anchor,
        )
        for concept, anchor in pairs
        for template in templates
    ]
    known = {(p.prompt, p.anchor) for p in prompts}
    return [*prompts, *(p for p in made if (p.prompt, p.anchor) not in known)]


def images_of(
    prompts: Sequence[ConceptPrompt], count: int, *, seed: int, steps: int = 50, guidance: float = 7.5
) -> list[ConceptImage]:
    """`count` images to be made of prompts in turn; where images are given already, those and no others."""
    given = [prompt for prompt in prompts if isinstance(prompt, ConceptImage)]
    if given:
        return given
    return [
        ConceptImage(
            **{**_plain(prompt), "id": f"{prompt.id}#{seed + number}"},
            seed=seed + number,
            steps=steps,
            guidance=guidance,
        )
        for number, prompt in _around(prompts, count)
    ]


def trajectory_points(
    prompts: Sequence[ConceptPrompt], count: int, *, seed: int, steps: int = 50, guidance: float = 3.0
) -> list[TrajectoryPoint]:
    """Training points of `count` trajectories, prompt after prompt.

    They are ordered by step, so that the first points name all trajectories and these run as one batch.
    """
    trajectories = list(_around(prompts, count))
    return [
        TrajectoryPoint(
            **{**_plain(prompt), "id": f"{prompt.id}#{seed + number}@{step}"},
            seed=seed + number,
            steps=steps,
            guidance=guidance,
            step=step,
        )
        for step in range(steps)
        for number, prompt in trajectories
    ]


def with_trajectories(splits: Splits, count: int, *, seed: int, steps: int = 50, guidance: float = 3.0) -> Splits:
    """The same request with training points in place of prompts, on both sides.

    Args:
        splits: Forget and retain prompts; points that are given stay as they are.
        count: Trajectories of each side; every prompt has at least one.
        seed: Seed of the first trajectory.
        steps: Steps of each.
        guidance: Guidance scale of each.

    Raises:
        DataError: There is nothing to forget.
    """
    refuse_empty(splits.forget)
    sides = []
    for prompts in (splits.forget, splits.retain or ()):
        number = max(count, len(prompts))
        is_given = any(isinstance(prompt, TrajectoryPoint) for prompt in prompts)
        points = trajectory_points(prompts, number, seed=seed, steps=steps, guidance=guidance)
        sides.append(prompts if is_given else points)
    return with_sides(splits, sides[0], sides[1] or None)


def with_images(splits: Splits, count: int, *, seed: int, steps: int = 50, guidance: float = 7.5) -> Splits:
    """The same request with images in place of prompts; arguments as in `with_trajectories`."""
    refuse_empty(splits.forget)
    sides = [
        images_of(prompts, max(count, len(prompts)), seed=seed, steps=steps, guidance=guidance)
        for prompts in (splits.forget, splits.retain or ())
    ]
    return with_sides(splits, sides[0], sides[1] or None)


def swapped(prompts: Sequence[ConceptPrompt]) -> list[ConceptPrompt]:
    """The anchor's prompts, with the concept's as their anchors."""
    return [
        ConceptPrompt(
            id=f"{prompt.anchor} for {prompt.id}",
            prompt=prompt.anchor,
            concept=prompt.anchor_concept,
            anchor=prompt.prompt,
            anchor_concept=prompt.concept,
        )
        for prompt in prompts
    ]


def relabelled(prompts: Sequence[ConceptPrompt], others: Sequence[ConceptPrompt]) -> list[ConceptPrompt]:
    """Prompts in which every concept without an anchor has one of `others`, in turn, as its anchor."""
    made = []
    for number, prompt in enumerate(prompts):
        if prompt.anchor or not others:
            made.append(prompt)
            continue
        other = others[number % len(others)]
        made.append(replace(prompt, anchor=other.prompt, anchor_concept=other.concept))
    return made


def anchored(points: Sequence[TrajectoryPoint], others: Sequence[ConceptPrompt]) -> list[TrajectoryPoint]:
    """The same training points with `others`, in turn, as their anchors."""
    return [
        replace(
            point,
            id=f"{point.id} beside {(other := others[number % len(others)]).id}",
            anchor=other.prompt,
            anchor_concept=other.concept,
        )
        for number, point in enumerate(points)
    ]


def concept_names(prompts: Sequence[ConceptPrompt]) -> tuple[str, ...]:
    """The concepts that prompts name, each once, in order.

    Raises:
        DataError: There is none.
    """
    refuse_empty(prompts)
    return tuple(dict.fromkeys(prompt.concept for prompt in prompts))


def refuse_empty(forget: Sequence[Any]) -> None:
    """Refuse a request without anything to forget.

    Raises:
        DataError: There is nothing.
    """
    if not forget:
        raise DataError("nothing to forget: the list of concepts is empty")


def _plain(prompt: ConceptPrompt) -> dict[str, Any]:
    return {name: getattr(prompt, name) for name in ("prompt", "concept", "anchor", "anchor_concept")}


def _around(prompts: Sequence[ConceptPrompt], count: int) -> Iterator[tuple[int, ConceptPrompt]]:
    for number in range(count if prompts else 0):
        yield number, prompts[number % len(prompts)]


def _prompts(concepts: Sequence[Concept], templates: Sequence[str]) -> Iterator[ConceptPrompt]:
    for concept in concepts:
        for name in concept.names:
            for template in templates:
                for anchor in concept.anchors:
                    prompt = filled(template, name)
                    yield ConceptPrompt(
                        id=f"{prompt}{f' -> {anchor}' if len(concept.anchors) > 1 else ''}",
                        prompt=prompt,
                        concept=name,
                        anchor=filled(template, anchor) if anchor else "",
                        anchor_concept=anchor,
                    )


def _parse(text: str) -> Concept:
    left, _, right = text.partition(ARROW)
    names = [name.strip() for name in left.split("|")]
    anchors = tuple(anchor.strip() for anchor in right.split("&"))
    if not all(names):
        raise DataError(f"concept {text!r}: an empty name; write 'name', 'name | synonym' or 'name -> anchor'")
    return Concept(name=names[0], synonyms=tuple(names[1:]), anchors=anchors)


def _refuse_doubles(names: Sequence[str], message: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise DataError(message.format(name) + ": name it once")
        seen.add(name.casefold())
