"""What the lab's images can be asked for: ten digits in six styles, their words, and prompts that name them.

Every word of a held-out prompt occurs in training, but never in that order: held-out prompts ask whether a concept is
gone as a concept, or only in the sentences that erasure has seen.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from genunlearn.registry import unknown_name

OBJECT, STYLE = "object", "style"

OBJECTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STYLES = ("red", "green", "blue", "inverted", "outlined", "striped")
NAMES = {OBJECT: OBJECTS, STYLE: STYLES}

SYNONYMS = {name: str(number) for number, name in enumerate(OBJECTS)} | {
    "red": "scarlet",
    "green": "emerald",
    "blue": "azure",
    "inverted": "negative",
    "outlined": "hollow",
    "striped": "hatched",
}

TEMPLATES = (
    "a {style} digit {object}",
    "the digit {object} in {style}",
    "a {style} number {object}",
    "{style} {object}",
    "a picture of a {style} digit {object}",
    "a picture of the number {object} in {style} style",
    "the digit {object}, {style}",
)
HELD_OUT_TEMPLATES = (
    "the number {object}, in {style} style",
    "in {style}, a digit {object}",
    "a picture of the {style} {object}",
    "a number {object} in a {style} picture",
)
OBJECT_TEMPLATES = ("a digit {object}", "the number {object}", "a picture of a digit {object}", "{object}")
STYLE_TEMPLATES = (
    "a {style} digit",
    "a picture of a {style} number",
    "a number in {style}",
    "a digit in {style} style",
)
NEUTRAL_PROMPTS = ("a digit", "a picture of a number", "a picture")

SYNONYM_SHARE = 0.25
"""How often a training prompt says a concept with its other word."""

FORM_SHARES = {"full": 0.68, "object": 0.08, "style": 0.08, "neutral": 0.04, "empty": 0.12}
"""What share of the training prompts names both concepts, one of them, none, or is dropped for guidance."""


@dataclass(frozen=True, order=True)
class Concept:
    """Something that can be forgotten: a digit or a style.

    Attributes:
        kind: ``object`` or ``style``.
        name: One of `OBJECTS` or `STYLES`.
    """

    kind: str
    name: str

    @property
    def label(self) -> str:
        """How the command line and reports name it: ``digit seven``, ``style red``."""
        return f"{'digit' if self.kind == OBJECT else 'style'} {self.name}"

    @property
    def text(self) -> str:
        """The words that stand for it in `prompt_of`: ``digit seven``, ``red``."""
        return self.label if self.kind == OBJECT else self.name

    @property
    def index(self) -> int:
        """Its place among the concepts of its kind."""
        return NAMES[self.kind].index(self.name)


@dataclass(frozen=True)
class Prompt:
    """A prompt and what an image of it must show; None where it leaves that open."""

    text: str
    object: str | None = None
    style: str | None = None

    def names(self, concept: Concept) -> bool:
        """Whether it asks for `concept`."""
        return getattr(self, concept.kind) == concept.name


def concepts(kind: str | None = None) -> tuple[Concept, ...]:
    """All concepts, or those of one kind, in the order of the judge's classes."""
    return tuple(Concept(k, name) for k, names in NAMES.items() if kind in (None, k) for name in names)


def concept_of(name: str) -> Concept:
    """The concept that `name` means: ``digit seven``, ``seven``, ``7``, ``style red``, ``red style`` or ``scarlet``.

    Raises:
        NameNotFound: It means none; the message carries near matches.
    """
    words = [word for word in name.lower().split() if word not in ("digit", "number", "style", "a", "the")]
    for concept in concepts():
        if words in ([concept.name], [SYNONYMS[concept.name]]):
            return concept
    raise unknown_name("concept of lab:diffusion", name, [concept.label for concept in concepts()])


def neighbours(concept: Concept) -> tuple[Concept, ...]:
    """The other concepts of its kind: what must stay when it goes."""
    return tuple(other for other in concepts(concept.kind) if other != concept)


def prompt_of(object: str | None = None, style: str | None = None) -> Prompt:
    """The plainest prompt for a digit, a style, both or neither, such as ``a red digit seven``."""
    template = ("a {style} digit" if style else "a digit") + (" {object}" if object else "")
    return _fill(template, object, style)


def prompt_grid(*, held_out: bool = False) -> tuple[Prompt, ...]:
    """One prompt for each digit in each style; the held-out ones take turns in template and synonyms."""
    pairs = [(name, style) for name in OBJECTS for style in STYLES]
    if not held_out:
        return tuple(prompt_of(*pair) for pair in pairs)
    return tuple(_held_out(name, style, turn=7 * row) for row, (name, style) in enumerate(pairs))


def prompts_for(concept: Concept, *, held_out: bool = False) -> tuple[Prompt, ...]:
    """Every prompt that names `concept` together with each concept of the other kind.

    Args:
        concept: What the prompts ask for.
        held_out: Use word orders that training never saw, and synonyms; else those of training, in plain words.
    """
    others = STYLES if concept.kind == OBJECT else OBJECTS
    pairs = [(concept.name, other) if concept.kind == OBJECT else (other, concept.name) for other in others]
    if held_out:
        turns = range(3 * len(HELD_OUT_TEMPLATES))
        return tuple(dict.fromkeys(_held_out(*pair, turn=turn) for pair in pairs for turn in turns))
    return tuple(_fill(template, *pair) for template in TEMPLATES for pair in pairs)


def prompts_naming(concept: Concept, word: str | None = None) -> tuple[Prompt, ...]:
    """Every training prompt that names `concept`, alone and beside each concept of the other kind.

    Args:
        concept: What the prompts ask for.
        word: How they call it, ``7`` for instance; its plain name if None.
    """
    word = word or concept.name
    if concept.kind == OBJECT:
        alone = [Prompt(_worded(template, word, ""), concept.name) for template in OBJECT_TEMPLATES]
        pairs = [(word, style) for style in STYLES]
    else:
        alone = [Prompt(_worded(template, "", word), style=concept.name) for template in STYLE_TEMPLATES]
        pairs = [(name, word) for name in OBJECTS]
    both = [_fill(template, *pair) for template in TEMPLATES for pair in pairs]
    return (*alone, *(replace(prompt, **{concept.kind: concept.name}) for prompt in both))


def asked_of(prompts: Sequence[Prompt]) -> dict[str, list[str | None]]:
    """By kind, what each prompt asks for: the way metrics of images read prompts."""
    return {kind: [getattr(prompt, kind) for prompt in prompts] for kind in NAMES}


def training_prompt(object: str, style: str, rng: random.Random) -> str:
    """A random training prompt of an image: form, template and synonyms; empty where guidance needs it so."""
    form = rng.choices(list(FORM_SHARES), list(FORM_SHARES.values()))[0]
    if form == "empty":
        return ""
    templates = {
        "full": TEMPLATES,
        "object": OBJECT_TEMPLATES,
        "style": STYLE_TEMPLATES,
        "neutral": NEUTRAL_PROMPTS,
    }
    words = [SYNONYMS[name] if rng.random() < SYNONYM_SHARE else name for name in (object, style)]
    return _worded(rng.choice(templates[form]), *words)


def vocabulary() -> Iterator[str]:
    """Text that holds every word of every prompt."""
    yield from NEUTRAL_PROMPTS
    yield from SYNONYMS
    yield from SYNONYMS.values()
    for template in (*TEMPLATES, *HELD_OUT_TEMPLATES, *OBJECT_TEMPLATES, *STYLE_TEMPLATES):
        for style in STYLES:
            yield _worded(template, "zero", style)


def remaining(without: Collection[Concept]) -> tuple[tuple[str, str], ...]:
    """Pairs of digit and style that are left without some concepts."""
    gone = {(concept.kind, concept.name) for concept in without}
    kept: dict[str, Sequence[str]] = {
        k: [name for name in names if (k, name) not in gone] for k, names in NAMES.items()
    }
    return tuple((name, style) for name in kept[OBJECT] for style in kept[STYLE])


def _held_out(object: str, style: str, turn: int) -> Prompt:
    """A held-out prompt; turns go through the templates first, then through plain words, style and digit synonyms."""
    template = HELD_OUT_TEMPLATES[turn % len(HELD_OUT_TEMPLATES)]
    swap = turn // len(HELD_OUT_TEMPLATES) % 3
    words = (SYNONYMS[object] if swap == 2 else object, SYNONYMS[style] if swap == 1 else style)
    return Prompt(_worded(template, *words), object, style)


def _fill(template: str, object: str | None, style: str | None) -> Prompt:
    return Prompt(_worded(template, object or "", style or ""), object, style)


def _worded(template: str, object: str, style: str) -> str:
    """The template with its words; the article fits the style."""
    article = "an" if style[:1] in "aeiou" else "a"
    return template.replace("a {style}", f"{article} {{style}}").format(object=object, style=style)
