"""A lab of a small network: bundled data, a network taught on it, and networks taught without the forget set.

Each network is taught in seconds from a seed, and cached under the hash of everything that decides it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.network.hardness import hardness
from genunlearn.data.network.items import Item, targets_of
from genunlearn.data.network.subsets import choose, divide, matching
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.errors import DataError, QualityError
from genunlearn.lab.cache import build_once, read_card, recipe_key
from genunlearn.lab.determinism import fixed_threads

ORACLE_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Data:
    """What a study is about: items to learn from, and items that are never learnt from."""

    train: Sequence[Item]
    test: Sequence[Item]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A data set and the network that is taught on it.

    Attributes:
        name: As in ``lab:NAME``.
        read: Reads the data.
        adapter: An untrained network for it.
        settings: How it is taught.
        level: Least `score` that the network must reach on the test items.
        version: Raised when the same recipe gives another network.
    """

    name: str
    read: Callable[[], Data]
    adapter: Callable[[], NetworkDomain]
    settings: FitConfig
    level: float
    version: int = 1

    @cached_property
    def data(self) -> Data:
        """The data, read once."""
        return self.read()

    def original(self, seed: int = 0) -> NetworkDomain:
        """The network that was taught everything.

        Raises:
            QualityError: It misses `level` on the test items.
        """
        return self._read(self.folder(seed=seed))

    def oracle(self, retain: Sequence[Item], seed: int) -> NetworkDomain:
        """A network of the same architecture that was taught `retain` alone."""
        return self._read(self.folder(retain, seed=seed))

    def mark(self, request: str, *, seed: int = 0) -> Tensor:
        """Which of the training items a request such as ``class:3`` means, see `genunlearn.data.network.subsets`."""
        train = self.data.train
        return choose(train, request, seed=seed, scores=lambda by: hardness(self.original(), train, by))

    def build(self, without: Sequence[str] = (), *, force: bool = False) -> Path:
        """Teach the original, or with a request the first oracle that never sees it; returns the folder.

        Raises:
            DataError: More than one request, or one that cannot be met.
        """
        if len(without) > 1:
            raise DataError(f"{len(without)} requests: lab:{self.name} takes one, such as class:3 or random:0.1")
        if not without:
            return self.folder(force=force)
        kept = divide(self.data.train, self.mark(without[0])).retain
        return self.folder(kept, seed=ORACLE_SEEDS[0], force=force)

    def folder(self, retain: Sequence[Item] | None = None, *, seed: int = 0, force: bool = False) -> Path:
        """The cached folder of the original (`retain` None) or of an oracle; taught now if it is not there yet."""
        items = self.data.train if retain is None else retain
        recipe = {"settings": asdict(self.settings), "seed": seed, "items": fingerprint(items)}
        key = recipe_key(recipe, version=self.version)
        teach = partial(self._teach, items=items, seed=seed, is_oracle=retain is not None)
        return build_once(self.name, key, teach, force=force)

    def card(self, retain: Sequence[Item] | None = None, *, seed: int = 0) -> dict[str, Any]:
        """What was measured when a network was built; arguments as `folder`."""
        return read_card(self.folder(retain, seed=seed))

    def _read(self, folder: Path) -> NetworkDomain:
        domain = self.adapter()
        domain.load_weights(folder)
        domain.module.eval()
        return domain

    def _teach(self, folder: Path, items: Sequence[Item], seed: int, *, is_oracle: bool) -> Mapping[str, Any]:
        start, worked = time.monotonic(), time.process_time()
        with fixed_threads():
            domain = self.adapter()
            domain.reinitialise(seed)
            losses = fit(domain, items, self.settings, seed=seed)
            worked = time.process_time() - worked
            measured = {"train": score(domain, items), "test": score(domain, self.data.test)}
        if not is_oracle and measured["test"] < self.level:
            raise QualityError(
                f"lab:{self.name}, seed = {seed}, misses its level: test = {measured['test']:.3f} "
                f"(at least {self.level}); try another seed"
            )
        domain.save(folder)
        return {
            "kind": self.name,
            "version": self.version,
            "settings": asdict(self.settings),
            "seed": seed,
            "items": len(items),
            "is_oracle": is_oracle,
            "measured": {**measured, "loss": losses[-1]},
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(worked, 2),
        }


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One request in a lab: the network before, the data of the request, the oracles.

    Attributes:
        name: As in ``lab:NAME``.
        request: What is to be forgotten, for instance ``class:3``.
        original: The network that was taught everything; methods change it in place.
        splits: Forget and retain items; the holdout is the test items of the forget set's kind.
        test: All test items.
        oracles: Networks taught without the forget set, one for each of `ORACLE_SEEDS`.
    """

    name: str
    request: str
    original: NetworkDomain
    splits: Splits
    test: Sequence[Item]
    oracles: tuple[NetworkDomain, ...]


def open_lab(study: Study, request: str, *, seed: int = 0, num_oracles: int = len(ORACLE_SEEDS)) -> Lab:
    """Build or read what a request in a study needs.

    Args:
        study: The data set and its network.
        request: What is to be forgotten, see `genunlearn.data.network.subsets`.
        seed: Decides a ``random`` request.
        num_oracles: How many oracles, at most `ORACLE_SEEDS`.

    Raises:
        DataError: The request cannot be met.
    """
    holdout = matching(study.data.test, request)
    splits = divide(study.data.train, study.mark(request, seed=seed), holdout=holdout)
    retain = splits.retain or ()
    return Lab(
        name=study.name,
        request=request,
        original=study.original(),
        splits=splits,
        test=study.data.test,
        oracles=tuple(study.oracle(retain, seed=s) for s in ORACLE_SEEDS[:num_oracles]),
    )


def score(domain: NetworkDomain, items: Sequence[Item]) -> float:
    """Accuracy of a classifier; of a regressor the share of the targets' variance that it explains."""
    outputs, targets = domain.predict(items), targets_of(items)
    if not targets.is_floating_point():
        return float((outputs.argmax(1) == targets).float().mean())
    targets = targets.reshape(len(targets), -1)
    missed = (outputs - targets).square().sum() / (targets - targets.mean(0)).square().sum()
    return float(1 - missed)


def fingerprint(items: Sequence[Item]) -> str:
    """Hash of the inputs and targets of items, in their order."""
    digest = hashlib.sha256()
    for item in items:
        for tensor in (*item.inputs.values(), item.target):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
