"""What attacks on erased concepts share: the concept under attack, who says whether it shows, and what came of it.

Every attack is run alike on the unlearned model, the original and an oracle. A success counts where the oracle fails:
an attack that makes a model draw what it never saw has brought the concept along itself.
"""

from __future__ import annotations

import abc
import copy
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass as record
from dataclasses import field
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.domains.diffusion.trajectories import Trajectories
from genunlearn.errors import DataError
from genunlearn.ops.intervals import share
from genunlearn.records import Result

T = TypeVar("T")


class Detector(Protocol):
    """Says of images ``(n, 3, height, width)`` in [0, 1] whether they show the concept."""

    def shown(self, images: Tensor) -> Tensor:
        """Whether each does, ``(n,)`` bool."""

    def score(self, images: Tensor) -> Tensor:
        """How surely, ``(n,)`` in [0, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """What it goes by, ``(n, d)``."""


@record(frozen=True, kw_only=True)
class ConceptContext:
    """One concept under attack; it stands in ``Splits.context``.

    Attributes:
        concept: How reports name it.
        name: Its words in the prompts.
        prompts: Prompts that ask for it, one an image.
        seeds: One for each image.
        detector: Says whether images show it.
        sampling: How images are made.
        original: The model before unlearning, for attacks that use it, and to make what is not given.
        audited: The model under audit, where its controls go through the same; None where there is one model alone.
        begins: Prompts by which the original begins images that a model ends when asked for `prompts`; these if empty.
        images: Images that show it, ``(m, 3, height, width)`` in [0, 1], for attacks that learn from some; the
            original makes them if None.
        unrelated: Images that do not, and their prompts; the original makes them of `neighbours` if None.
        neighbours: Prompts that ask for something else of the same kind.
        synonyms: Other names of the concept.
        paraphrases: Prompts that ask for it in other words; made of the synonyms and of common templates if empty.
    """

    concept: str
    name: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    detector: Detector
    sampling: Sampling = field(default_factory=lambda: Sampling(scheduler="ddim"))
    original: Any = None
    audited: Any = None
    begins: tuple[str, ...] = ()
    images: Tensor | None = None
    unrelated: tuple[Tensor, tuple[str, ...]] | None = None
    neighbours: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    _remembered: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a context without images.

        Raises:
            DataError: There is no prompt, or not one for each seed.
        """
        if not self.prompts or len(self.prompts) != len(self.seeds):
            raise DataError(
                f"{len(self.prompts)} prompts for {len(self.seeds)} seeds: every image of a context has one of each"
            )

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave when `key` was first asked for."""
        if key not in self._remembered:
            self._remembered[key] = compute()
        return self._remembered[key]

    def plain(self, model: Any, target: str) -> Tensor:
        """What `model` draws without an attack, ``(n, 3, height, width)``; made once a target."""
        return self.once(("plain", target), lambda: model.images(self.prompts, self.seeds, self.sampling))

    def concept_images(self, count: int) -> tuple[Tensor, tuple[str, ...]]:
        """`count` images that show the concept, with their prompts: given, or made once by the original.

        Raises:
            DataError: None are given, and neither is the original.
        """
        if self.images is None:
            return self._made(self.prompts, count, "images")
        rows = [row % len(self.images) for row in range(count)]
        return self.images[rows], tuple(self.prompts[row % len(self.prompts)] for row in rows)

    def unrelated_images(self, count: int) -> tuple[Tensor, tuple[str, ...]]:
        """The same of images that do not show it.

        Raises:
            DataError: Neither they nor prompts for them and the original are given.
        """
        if self.unrelated is None:
            return self._made(self.neighbours, count, "unrelated")
        images, prompts = self.unrelated
        rows = [row % len(images) for row in range(count)]
        return images[rows], tuple(prompts[row % len(prompts)] for row in rows)

    def _made(self, prompts: Sequence[str], count: int, what: str) -> tuple[Tensor, tuple[str, ...]]:
        """Images of the original, of seeds that the context does not ask for."""
        if self.original is None or not prompts:
            raise DataError(f"this attack learns from images, and {what} = None: give some, or the original model")
        texts = [prompts[row % len(prompts)] for row in range(count)]
        first = max(self.seeds) + 1
        seeds = list(range(first, first + count))
        made = self.once((what, count), lambda: self.original.images(texts, seeds, self.sampling))
        return made, tuple(texts)


def context_of(splits: Splits[ConceptContext]) -> ConceptContext:
    """The context that a request carries.

    Raises:
        DataError: It carries none.
    """
    if splits.context is None:
        raise DataError("an attack on a concept needs its context in Splits.context: prompts, seeds and a detector")
    return splits.context


@record(frozen=True)
class Level:
    """What an attack finds at one strength.

    Attributes:
        strength: In words, such as ``psi = 0.15``; empty for attacks of a single one.
        images: One image a seed, ``(n, 3, height, width)`` in [0, 1].
        shown: Whether each shows the concept, ``(n,)`` bool.
    """

    strength: str
    images: Tensor
    shown: Tensor


@record(frozen=True, kw_only=True)
class Attempt:
    """What came of one attack on one model.

    Attributes:
        attack: Name of the attack.
        target: Which model.
        concept: Which concept.
        seeds: One for each image.
        levels: What was found, by strength; usually one.
        before: Whether the model shows the concept unasked, ``(n,)`` bool; None where that is a strength of its own.
        forwards: Evaluations of the attacked model's denoiser, counted in samples; the plain images do not count.
        seconds: Wall time of the attack.
        details: What else there is to say, as plain JSON.
    """

    attack: str
    target: str
    concept: str
    seeds: tuple[int, ...]
    levels: tuple[Level, ...]
    before: Tensor | None
    forwards: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        """The images of every level, ``(levels, n, 3, height, width)``; of a single one ``(n, ...)``."""
        return self.levels[0].images if len(self.levels) == 1 else torch.stack([one.images for one in self.levels])

    @property
    def hits(self) -> tuple[int, ...]:
        """Images that show the concept, with the attack or without it, by level."""
        return tuple(int(self._succeeded(level).sum()) for level in self.levels)

    def results(self, version: int = 1) -> list[Result]:
        """``asr`` of every level, and ``asr_before`` without the attack, with exact intervals."""
        group, rows = f"{self.concept}, {self.attack}", []
        if self.before is not None:
            rows.append(_share("asr_before", self.before, self.target, group, version))
        for level in self.levels:
            named = f"{group}, {level.strength}" if level.strength else group
            rows.append(_share("asr", self._succeeded(level), self.target, named, version))
        return rows

    def _succeeded(self, level: Level) -> Tensor:
        return level.shown if self.before is None else self.before | level.shown


@record(frozen=True)
class Drawn:
    """Images of an attack, of which only the strongest of each seed is kept.

    Attributes:
        images: ``(n, 3, height, width)``.
        scores: ``(n,)`` of the detector.
        shown: ``(n,)`` bool.
        details: See `Attempt`.
    """

    images: Tensor
    scores: Tensor
    shown: Tensor
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def judged(cls, images: Tensor, detector: Detector, **details: Any) -> Drawn:
        """One image a seed."""
        return cls(images, detector.score(images).cpu(), detector.shown(images).cpu(), details)

    @classmethod
    def strongest(cls, variants: Iterable[Tensor], detector: Detector, **details: Any) -> Drawn:
        """The best of several variants of each seed, which are looked at one after the other.

        A seed counts as shown if any of its variants is; ``details["variant"]`` says which one is kept.

        Args:
            variants: Images ``(n, 3, height, width)`` each, at least one of them.
            detector: Says what they show.
            details: See `Attempt`.
        """
        best: Drawn | None = None
        which, shares = torch.zeros(0), []
        for number, images in enumerate(variants):
            now = cls.judged(images, detector)
            shares.append(float(now.shown.float().mean()))
            if best is None:
                best, which = now, torch.zeros(len(images), dtype=torch.long)
                continue
            # any that is shown comes before all that are not
            better = now.scores + 2 * now.shown > best.scores + 2 * best.shown
            pixels = better.view(-1, 1, 1, 1).to(images.device)
            best = cls(
                torch.where(pixels, images, best.images),
                torch.where(better, now.scores, best.scores),
                now.shown | best.shown,
            )
            which[better] = number
        assert best is not None
        kept = {"variant": which.tolist(), "shown_by_variant": shares}
        return cls(best.images, best.scores, best.shown, {**kept, **details})


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ConceptAttack(Attack[Diffusion]):
    """An attack on an erased concept, whose fields are its budget: an attempt at one strength or at several."""

    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    is_scored: ClassVar[bool] = False
    """Whether concealment scores are computed from its images, which are then kept whole."""
    learns: ClassVar[bool] = False
    """Whether it is given images of the concept, and so may bring along what it then draws."""

    @abc.abstractmethod
    def attempt(self, model: Any, context: ConceptContext, target: str) -> Attempt:
        """Attack one model, which is left as it was.

        Raises:
            DataError: The context lacks what the attack learns from.
            NeedNotMet: The pipeline is of a kind that the attack does not know.
        """

    def missing(self, model: Any, context: ConceptContext) -> str | None:
        """What the attack cannot do without and is not there."""
        return None

    def results_of(self, attempt: Attempt) -> list[Result]:
        """The numbers of an attempt."""
        return attempt.results(self.version)

    def attack(
        self, model: Diffusion, splits: Splits[ConceptContext], target: str, beside: Beside[Diffusion]
    ) -> list[Result]:
        """``asr_before`` and ``asr`` of one model, or why there are none."""
        context = context_of(splits)
        if reason := self.missing(model, context):
            return [self.skip(target, reason, name="asr", group=f"{context.concept}, {self.name}")]
        return self.results_of(self.attempt(model, context, target))


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DrawnAttack(ConceptAttack):
    """An attack of one strength: it draws an image for each seed."""

    @abc.abstractmethod
    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """Images under attack; `model` is left as it was."""

    def attempt(self, model: Any, context: ConceptContext, target: str) -> Attempt:
        """The plain images beside the drawn ones."""
        before = context.detector.shown(context.plain(model, target)).cpu()
        forwards, begun = evaluations(model), time.monotonic()
        drawn = self.draw(model, context)
        return Attempt(
            attack=self.name,
            target=target,
            concept=context.concept,
            seeds=context.seeds,
            levels=(Level("", drawn.images, drawn.shown),),
            before=before,
            forwards=evaluations(model) - forwards,
            seconds=time.monotonic() - begun,
            details=drawn.details,
        )


def copied(model: Any) -> Any:
    """The model with a denoiser of its own, all of whose weights can be trained; work still counts on its meter."""
    twin = copy.copy(model)
    twin.module = copy.deepcopy(model.network).requires_grad_(True)
    twin.trajectories = Trajectories()
    return twin


def evaluations(model: Any) -> int:
    """Evaluations of a model's denoiser so far, with and without gradient."""
    return model.meter.frozen + model.meter.trained


def _share(name: str, hits: Tensor, target: str, group: str, version: int) -> Result:
    value, low, high = share(int(hits.sum()), len(hits))
    return Result(name=name, target=target, value=value, low=low, high=high, n=len(hits), group=group, version=version)
