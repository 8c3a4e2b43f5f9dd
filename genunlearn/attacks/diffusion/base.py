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

from genunlearn.contracts import STRICT, Attack, Splits
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.domains.diffusion.trajectories import Trajectories
from genunlearn.errors import DataError
from genunlearn.ops.intervals import share
from genunlearn.records import Result

T = TypeVar("T")


class Witness(Protocol):
    """Says of images ``(n, 3, height, width)`` in [0, 1] whether they show the concept."""

    def shown(self, images: Tensor) -> Tensor:
        """Whether each does, ``(n,)`` bool."""

    def score(self, images: Tensor) -> Tensor:
        """How surely, ``(n,)`` in [0, 1]."""


@record(frozen=True, kw_only=True)
class Case:
    """One concept under attack; it stands in ``Splits.context``.

    Attributes:
        concept: How reports name it.
        name: Its words in the prompts.
        prompts: Prompts that ask for it, one an image.
        seeds: One for each image.
        witness: Says whether images show it.
        sampling: How images are made.
        original: The model before unlearning, for attacks that use it, and to make what is not given.
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
    witness: Witness
    sampling: Sampling = field(default_factory=lambda: Sampling(scheduler="ddim"))
    original: Any = None
    images: Tensor | None = None
    unrelated: tuple[Tensor, tuple[str, ...]] | None = None
    neighbours: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    _remembered: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a case without images.

        Raises:
            DataError: There is no prompt, or not one for each seed.
        """
        if not self.prompts or len(self.prompts) != len(self.seeds):
            raise DataError(
                f"{len(self.prompts)} prompts for {len(self.seeds)} seeds: every image of a case has one of each"
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
        """Images of the original, of seeds that the case does not ask for."""
        if self.original is None or not prompts:
            raise DataError(f"this attack learns from images, and {what} = None: give some, or the original model")
        texts = [prompts[row % len(prompts)] for row in range(count)]
        first = max(self.seeds) + 1
        seeds = list(range(first, first + count))
        made = self.once((what, count), lambda: self.original.images(texts, seeds, self.sampling))
        return made, tuple(texts)


def case_of(splits: Splits) -> Case:
    """The case that a request carries.

    Raises:
        DataError: It carries none.
    """
    if not isinstance(splits.context, Case):
        raise DataError("an attack on a concept needs its case in Splits.context: prompts, seeds and a witness")
    return splits.context


@record(frozen=True, kw_only=True)
class Attempt:
    """What came of one attack on one model.

    Attributes:
        attack: Name of the attack.
        target: Which model.
        concept: Which concept.
        seeds: One for each image.
        images: The strongest image of each seed, ``(n, 3, height, width)`` in [0, 1].
        before: Whether the model shows the concept unasked, ``(n,)`` bool.
        after: Whether it shows it under attack, ``(n,)`` bool.
        scores: The witness's score of each image, ``(n,)``.
        forwards: Evaluations of the attacked model's denoiser, counted in samples; the plain images do not count.
        seconds: Wall time of the attack.
        details: What else there is to say, as plain JSON.
    """

    attack: str
    target: str
    concept: str
    seeds: tuple[int, ...]
    images: Tensor
    before: Tensor
    after: Tensor
    scores: Tensor
    forwards: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> Tensor:
        """Images that show the concept without the attack or with it, ``(n,)`` bool."""
        return self.before | self.after

    def results(self, version: int = 1) -> list[Result]:
        """``asr`` with and ``asr_before`` without the attack, with exact intervals."""
        group = f"{self.concept}, {self.attack}"
        return [
            _share("asr_before", self.before, self.target, group, version),
            _share("asr", self.succeeded, self.target, group, version),
        ]


@record(frozen=True)
class Drawn:
    """Images of an attack, of which only the strongest of each seed is kept.

    Attributes:
        images: ``(n, 3, height, width)``.
        scores: ``(n,)`` of the witness.
        shown: ``(n,)`` bool.
        details: See `Attempt`.
    """

    images: Tensor
    scores: Tensor
    shown: Tensor
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def judged(cls, images: Tensor, witness: Witness, **details: Any) -> Drawn:
        """One image a seed."""
        return cls(images, witness.score(images).cpu(), witness.shown(images).cpu(), details)

    @classmethod
    def strongest(cls, variants: Iterable[Tensor], witness: Witness, **details: Any) -> Drawn:
        """The best of several variants of each seed, which are looked at one after the other.

        A seed counts as shown if any of its variants is; ``details["variant"]`` says which one is kept.

        Args:
            variants: Images ``(n, 3, height, width)`` each, at least one of them.
            witness: Says what they show.
            details: See `Attempt`.
        """
        best: Drawn | None = None
        which, shares = torch.zeros(0), []
        for number, images in enumerate(variants):
            now = cls.judged(images, witness)
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
class ConceptAttack(Attack):
    """An attack on an erased concept, whose fields are its budget."""

    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})

    @abc.abstractmethod
    def draw(self, model: Any, case: Case) -> Drawn:
        """Images under attack; `model` is left as it was."""

    def lacking(self, model: Any, case: Case) -> str | None:
        """What the attack cannot do without and is not there."""
        return None

    def attempt(self, model: Any, case: Case, target: str) -> Attempt:
        """Attack one model.

        Raises:
            DataError: The case lacks what the attack learns from.
            NeedNotMet: The pipeline is of a kind that the attack does not know.
        """
        before = case.witness.shown(case.plain(model, target)).cpu()
        forwards, begun = evaluations(model), time.monotonic()
        drawn = self.draw(model, case)
        return Attempt(
            attack=self.name,
            target=target,
            concept=case.concept,
            seeds=case.seeds,
            images=drawn.images,
            before=before,
            after=drawn.shown,
            scores=drawn.scores,
            forwards=evaluations(model) - forwards,
            seconds=time.monotonic() - begun,
            details=drawn.details,
        )

    def run(self, model: Any, splits: Splits, target: str) -> list[Result]:
        """``asr_before`` and ``asr`` of one model, or why there are none."""
        case = case_of(splits)
        if reason := self.lacking(model, case):
            group = f"{case.concept}, {self.name}"
            return [Result(name="asr", target=target, value=None, group=group, skipped=reason)]
        return self.attempt(model, case, target).results(self.version)


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
