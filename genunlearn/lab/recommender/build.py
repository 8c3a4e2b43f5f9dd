"""``lab:recommender``: a small service whose items have real pictures and texts, and whose users are made up.

Semi-synthetic. Each item is one of scikit-learn's handwritten digits with a passage of the language reference that
Python carries along. Users are drawn from a seed: each likes some digits and some chapters, popular items more, and
chooses accordingly. So there is something in pictures and texts to learn, and it is known what; no number here says how
a method does on people.

One catalogue stands behind five labs, one for each kind of network: ``recommender`` (LightGCN), ``recommender_bpr``,
``recommender_vbpr``, ``recommender_knn_fusion``, and ``recommender_sharded`` with a LightGCN for each shard of users.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.data.recommender.interactions import Catalogue, as_interactions
from genunlearn.data.recommender.requests import choose
from genunlearn.data.recommender.shards import user_shards
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.domains.recommender.fitting import FitConfig, fit
from genunlearn.errors import DataError, QualityError
from genunlearn.lab.cache import build_once, read_card, recipe_key
from genunlearn.ops.ranking import NO_ITEMS, Ranked, rank_metrics

USERS, ITEMS, CHOICES = 400, 300, 24
"""Users, items, and how many items a user chooses on average."""
CHAPTERS = ("compound", "debugger", "formatstrings", "specialnames", "string-methods", "typesseq")
WORDS = 24
"""Of a passage."""
HASHED = 64
"""Places that the words of a passage are counted in."""
HELD_OUT = 8
"""One choice in so many is for the test, and as many for validation."""
SHARDS = 4
THREADS = 1
"""Fixed: the number of threads decides the order of float additions."""
ORACLE_SEEDS = (1, 2, 3)
TRAINING = FitConfig(steps=300, learning_rate=0.01, batch_size=1024)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One kind of recommender on the catalogue.

    Attributes:
        name: As in ``lab:NAME``.
        kind: Kind of network.
        level: Least Recall@20 on the validation interactions that the original must reach.
        is_sharded: Whether each shard of users has a network of its own.
        settings: How it is taught.
        version: Raised when the same recipe gives another model.
    """

    name: str
    kind: str
    level: float
    is_sharded: bool = False
    settings: FitConfig = TRAINING
    version: int = 1

    def original(self, seed: int = 0) -> Recommender:
        """The recommender that was taught everything.

        Raises:
            QualityError: It misses `level` on the validation interactions.
        """
        return Recommender.load(self.folder(seed=seed), device="cpu")

    def oracle(self, kept: Tensor, withdrawn: Tensor, seed: int) -> Recommender:
        """A recommender that was taught the interactions `kept` alone, without features of the items `withdrawn`."""
        return Recommender.load(self.folder(kept, withdrawn, seed=seed), device="cpu")

    def build(self, without: Sequence[str] = (), *, force: bool = False) -> Path:
        """Teach the original, or with a request the first oracle that never sees it; returns the folder.

        Raises:
            DataError: More than one request, or one that cannot be met.
        """
        if len(without) > 1:
            raise DataError(f"{len(without)} requests: lab:{self.name} takes one, such as users:0.05 or items:i3")
        if not without:
            return self.folder(force=force)
        chosen, train = choose(catalogue(), without[0]), catalogue().train
        return self.folder(train[~chosen.marked], chosen.items, seed=ORACLE_SEEDS[0], force=force)

    def folder(
        self, kept: Tensor | None = None, withdrawn: Tensor = NO_ITEMS, *, seed: int = 0, force: bool = False
    ) -> Path:
        """The cached folder of the original (`kept` None) or of an oracle; taught now if it is not there yet."""
        pairs = catalogue().train if kept is None else kept
        recipe = {
            "settings": asdict(self.settings),
            "kind": self.kind,
            "seed": seed,
            "catalogue": catalogue().sha256,
            "pairs": pairs.tolist(),
            "withdrawn": withdrawn.tolist(),
        }
        key = recipe_key(recipe, version=self.version)
        teach = partial(self._teach, pairs=pairs, withdrawn=withdrawn, seed=seed, is_oracle=kept is not None)
        return build_once(self.name, key, teach, force=force)

    def card(self, kept: Tensor, withdrawn: Tensor, seed: int) -> dict[str, Any]:
        """What was measured when an oracle was built."""
        return read_card(self.folder(kept, withdrawn, seed=seed))

    def untaught(self, pairs: Tensor) -> Recommender:
        """A recommender that holds `pairs`, with fresh weights."""
        data = catalogue()
        shards = user_shards(data, SHARDS) if self.is_sharded else None
        sizes = (len(data.users), len(data.items))
        return Recommender(self.kind, sizes, pairs, features=data.features, shards=shards)

    def _teach(
        self, folder: Path, pairs: Tensor, withdrawn: Tensor, seed: int, *, is_oracle: bool
    ) -> Mapping[str, Any]:
        start, worked = time.monotonic(), time.process_time()
        with fixed_threads():
            model = self.untaught(pairs)
            model.withdraw(withdrawn)
            model.reinitialise(seed)
            losses = self._fit(model, pairs, seed)
            worked = time.process_time() - worked
            measured = recall(model, catalogue().valid, pairs)
        if not is_oracle and measured < self.level:
            raise QualityError(
                f"lab:{self.name}, seed = {seed}, misses its level: Recall@20 on valid = {measured:.3f} "
                f"(at least {self.level}); try another seed"
            )
        model.save(folder)
        return {
            "kind": self.name,
            "version": self.version,
            "settings": asdict(self.settings),
            "seed": seed,
            "interactions": len(pairs),
            "is_oracle": is_oracle,
            "is_semi_synthetic": True,
            "measured": {"recall@20 on valid": measured, "loss": losses[-1]},
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(worked, 2),
        }

    def _fit(self, model: Recommender, pairs: Tensor, seed: int) -> list[float]:
        """Teach the one network, or each shard by itself in its share of the steps."""
        if (shards := model.shards) is None:
            return fit(model, as_interactions(pairs), self.settings, seed=seed)
        losses = []
        steps = FitConfig(**asdict(self.settings) | {"steps": self.settings.steps // SHARDS})
        for number in range(SHARDS):
            losses = fit(model, as_interactions(pairs[shards[pairs[:, 0]] == number]), steps, seed=seed + number)
        return losses


STUDIES = {
    study.name: study
    for study in (
        Study(name="recommender", kind="lightgcn", level=0.3),
        Study(name="recommender_bpr", kind="bpr", level=0.25),
        Study(name="recommender_vbpr", kind="vbpr", level=0.3),
        Study(name="recommender_knn_fusion", kind="knn_fusion", level=0.3),
        Study(name="recommender_sharded", kind="lightgcn", level=0.2, is_sharded=True),
    )
}


def recall(model: Recommender, relevant: Tensor, seen: Tensor) -> float:
    """Mean Recall@20 of some interactions."""
    asked = Ranked(relevant=relevant, seen=seen, barred=NO_ITEMS)
    return float(rank_metrics(model.scorer(), asked, model.sizes[1], cutoffs=(20,))["recall"].mean())


# ---- the catalogue ----------------------------------------------------------------------------------------------


@cache
def catalogue() -> Catalogue:
    """Users, items and interactions of the lab; see the module."""
    pictures, digits = _pictures()
    texts, chapters = _passages()
    generator = torch.Generator().manual_seed(0)
    likes_digit = _tastes(10, 3, generator)
    likes_chapter = _tastes(len(CHAPTERS), 2, generator)
    popularity = 0.7 * torch.randn(ITEMS, generator=generator)
    appeal = likes_digit[:, digits] + likes_chapter[:, chapters] + popularity
    # Gumbel noise makes the k largest a draw without replacement, with odds of exp(appeal).
    noise = -(-torch.rand(USERS, ITEMS, generator=generator).clamp_min(1e-9).log()).log()
    counts = torch.randint(CHOICES // 2, CHOICES * 3 // 2 + 1, (USERS,), generator=generator)
    order = (appeal + noise).argsort(1, descending=True)
    parts: dict[str, list[tuple[int, int]]] = {"train": [], "valid": [], "test": []}
    for user, count in enumerate(counts.tolist()):
        chosen = order[user, :count][torch.randperm(count, generator=generator)].tolist()
        held = count // HELD_OUT
        for place, item in enumerate(chosen):
            parts["test" if place < held else "valid" if place < 2 * held else "train"].append((user, item))
    return Catalogue(
        users=tuple(f"u{number}" for number in range(USERS)),
        items=tuple(f"i{number}" for number in range(ITEMS)),
        features={"image": pictures, "text": texts},
        **{name: torch.tensor(sorted(pairs)) for name, pairs in parts.items()},
    )


def _tastes(kinds: int, liked: int, generator: torch.Generator) -> Tensor:
    """How much each user likes each kind, ``(users, kinds)``: some much, the others not."""
    order = torch.rand(USERS, kinds, generator=generator).argsort(1).argsort(1)
    return 2.5 * (order < liked).float()


def _pictures() -> tuple[Tensor, Tensor]:
    """Pixels of the first pictures in [0, 1], ``(items, 64)``, and their digits."""
    from sklearn.datasets import load_digits

    bundled = load_digits()
    pixels = torch.from_numpy(bundled.data[:ITEMS]).float() / 16
    return pixels, torch.from_numpy(bundled.target[:ITEMS]).long()


def _passages() -> tuple[Tensor, Tensor]:
    """Counts of hashed words of each item's passage, ``(items, HASHED)``, and the numbers of their chapters."""
    from pydoc_data.topics import topics

    from sklearn.feature_extraction.text import HashingVectorizer

    chapters = torch.randint(len(CHAPTERS), (ITEMS,), generator=torch.Generator().manual_seed(1))
    words = [re.findall(r"[\w'-]+", topics[chapter].lower()) for chapter in CHAPTERS]
    used, passages = [0] * len(CHAPTERS), []
    for chapter in chapters.tolist():
        start = used[chapter] * WORDS % max(len(words[chapter]) - WORDS, 1)
        passages.append(" ".join(words[chapter][start : start + WORDS]))
        used[chapter] += 1
    hashed = HashingVectorizer(n_features=HASHED, alternate_sign=False, norm="l2").transform(passages)
    return torch.from_numpy(hashed.toarray()).float(), chapters


# ---- the table of labs ------------------------------------------------------------------------------------------


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of LightGCN, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return STUDIES["recommender"].build(without, force=force)


def build_bpr(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The same of matrix factorisation."""
    return STUDIES["recommender_bpr"].build(without, force=force)


def build_vbpr(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The same of VBPR."""
    return STUDIES["recommender_vbpr"].build(without, force=force)


def build_knn_fusion(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The same of the fusion of item graphs."""
    return STUDIES["recommender_knn_fusion"].build(without, force=force)


def build_sharded(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The same of a LightGCN for each shard of users."""
    return STUDIES["recommender_sharded"].build(without, force=force)


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Compute with `THREADS` threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
