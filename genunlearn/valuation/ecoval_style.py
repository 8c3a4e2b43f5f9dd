"""EcoVal-style: a cluster is worth what is lost without it, and its members also what they are worth by themselves.

    w_i   quality: the score of item i by learners of the other folds and the validation items (K folds)
    Q(S)  = sum of w_i over S, the effective quantity of S
    U(S)  = U(nobody) + A Q(S)^e,  0 < e <= 1: a production function, fitted over subsample sizes
    V_b   = U(D) - U(D without b): the cluster b left out
    s_i   = w_i / sum_b w  if V_b >= 0,  (1 - w_i) / sum_b (1 - w)  otherwise: the share of i in its cluster
    v_i   = ( e V_b s_i  +  (1 - e) A Q(D)^e w_i / Q(D) ) / copies of i

The elasticity e is the share of earnings that is paid at the margin. It weighs the extrinsic part, which depends on
what else is in the data: the good of a cluster goes to its best members, its harm to its worst. The rest is the
intrinsic part, shared by quality among all. Members sum to the value of their cluster,
``e V_b + (1 - e) A Q(D)^e Q(b) / Q(D)``. Near duplicates are one good: they go in or out together, and share its value.

Source: the idea of clusters, leave-cluster-out, a production function, intrinsic and extrinsic value is from Tarun et
al., "EcoVal: An Efficient Data Valuation Framework for Machine Learning" (KDD 2024).
Deviations: the paper's exact function is not public, so everything else here is ours: clusters within a class, quality
as a held-out score, one power law for the whole, the division by the elasticity.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Floats, Game, Learner, Rows

SHARES = (0.1, 0.2, 0.4, 0.7)
"""Of the data, at which the production function is fitted, beside the whole."""
NUMBER_KINDS = 5
"""Kinds of items whose targets are numbers: clusters lie within one."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EcoValStyle(Valuer):
    """Leave-cluster-out and held-out quality, weighed by the elasticity of a production function."""

    name: ClassVar[str] = "ecoval_style"
    paper: ClassVar[str] = "after Tarun et al., KDD 2024; the formula is ours"
    equation: ClassVar[str] = "v_i = e V_b s_i + (1 - e) A Q^e w_i / Q"

    clusters: Annotated[int, Field(ge=0, description="clusters; 0 takes the square root of the number of items")] = 0
    folds: Annotated[int, Field(ge=2, description="K: trainings that the qualities come from")] = 5
    draws: Annotated[int, Field(ge=1, description="subsamples of each size for the production function")] = 3
    same: Annotated[
        float, Field(ge=0, description="near duplicates: closer than this share of the median nearest distance")
    ] = 0.05
    seed: Annotated[int, Field(ge=0)] = 0

    def value(self, game: Game) -> Values:
        """One training a cluster, a fold and a subsample, and one of the whole."""
        learner, generator = game.learner, np.random.default_rng(self.seed)
        points = learner.embed()[0]
        _, first, good_of, copies = np.unique(
            near_duplicates(points, learner.targets, self.same),
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        market = Market(game, good_of)
        number = self.clusters or round(len(first) ** 0.5)
        cluster_of = clusters_of(points[first], kinds_of(learner)[first], number)
        with game.bar("clusters", int(cluster_of.max()) + 1) as advance:
            lost = np.array([market.lost(cluster_of == b, advance) for b in range(int(cluster_of.max()) + 1)])
        quality = self._quality(market, first, generator)
        size, elasticity = self._production(market, quality, generator)
        total = max(float(quality.sum()), 1e-12)
        extrinsic = elasticity * lost[cluster_of] * shares_of(quality, cluster_of, lost)
        intrinsic = (1 - elasticity) * size * total**elasticity * quality / total
        parts = {"extrinsic": extrinsic / copies, "intrinsic": intrinsic / copies, "quality": quality}
        return Values(
            values=game.gather(((extrinsic + intrinsic) / copies)[good_of]),
            groups={"cluster": cluster_of[good_of]},
            parts={name: part[good_of] for name, part in parts.items()},
            notes={"clusters": len(lost), "elasticity": elasticity, "size": size},
        )

    def _quality(self, market: Market, first: Rows, generator: np.random.Generator) -> Floats:
        """The held-out score of each good, by its first item."""
        fold_of, found = generator.permutation(len(first)) % self.folds, np.zeros(len(first))
        with market.game.bar("folds", self.folds) as advance:
            for fold in range(self.folds):
                if (fold_of == fold).any():
                    rows = market.rows(fold_of != fold)
                    found[fold_of == fold] = market.game.unseen(
                        rows, first[fold_of == fold], "probability", with_valid=True
                    )
                advance()
        return found.clip(0, 1)

    def _production(self, market: Market, quality: Floats, generator: np.random.Generator) -> tuple[float, float]:
        """A and e of the production function."""
        quantities, earned = [float(quality.sum())], [market.whole]
        with market.game.bar("subsamples", len(SHARES) * self.draws) as advance:
            for share in SHARES:
                for _ in range(self.draws):
                    is_in = generator.permutation(len(quality)) < max(1, round(share * len(quality)))
                    quantities.append(float(quality[is_in].sum()))
                    earned.append(market.game.earn(market.rows(is_in)))
                    advance()
        return fit_power(np.array(quantities), np.array(earned) - market.game.nothing)


class Market:
    """A game whose near duplicates go in or out together."""

    def __init__(self, game: Game, good_of: Rows) -> None:
        """Train on the whole."""
        self.game, self._good_of = game, good_of
        self.whole = game.earn(np.arange(len(good_of)))

    def rows(self, is_in: NDArray[np.bool_]) -> Rows:
        """The items of some goods."""
        return is_in[self._good_of].nonzero()[0]

    def lost(self, is_out: NDArray[np.bool_], advance: Callable[[], None]) -> float:
        """What is lost without some goods."""
        found = self.whole - self.game.earn(self.rows(~is_out))
        advance()
        return found


def near_duplicates(points: Floats, targets: NDArray[Any], same: float) -> Rows:
    """For each item the first one that it is a near duplicate of, or itself, ``(n,)``.

    Args:
        points: ``(n, d)``.
        targets: Duplicates have the same one.
        same: They are no farther apart than this share of the median distance to the nearest other item.
    """
    from sklearn.neighbors import NearestNeighbors

    first = np.arange(len(points))
    if len(points) < 2:
        return first
    index = NearestNeighbors().fit(points)
    nearest = index.kneighbors(points, n_neighbors=2)[0][:, 1]
    for row, near in enumerate(index.radius_neighbors(points, same * float(np.median(nearest)), return_distance=False)):
        alike = near[targets[near] == targets[row]]
        first[row] = first[min(alike.min(), row)] if len(alike) else row
    return first


def clusters_of(points: Floats, kinds: Rows, number: int) -> Rows:
    """The cluster of each item; a cluster has items of one kind, and larger kinds have more clusters.

    Args:
        points: ``(n, d)``.
        kinds: Class of each item, ``(n,)``.
        number: About how many clusters there are to be.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    cluster_of, count = np.zeros(len(points), dtype=np.int64), 0
    for kind in np.unique(kinds):
        rows = (kinds == kind).nonzero()[0]
        share = max(1, round(number * len(rows) / len(points)))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # of items that are alike: there are fewer clusters then
            fitted = KMeans(share, n_init=3, random_state=0).fit_predict(points[rows])
        found = np.unique(fitted, return_inverse=True)[1]
        cluster_of[rows] = count + found
        count += int(found.max()) + 1
    return cluster_of


def shares_of(quality: Floats, cluster_of: Rows, lost: Floats) -> Floats:
    """The share of each item in its cluster: by quality where the cluster does good, by the lack of it where it harms.

    Args:
        quality: In [0, 1], ``(n,)``.
        cluster_of: The cluster of each item, ``(n,)``.
        lost: What is lost without each cluster.
    """
    weight = np.where(lost[cluster_of] >= 0, quality, 1 - quality) + 1e-9  # a cluster of nothing is shared evenly
    return weight / np.bincount(cluster_of, weight)[cluster_of]


def fit_power(quantities: Floats, gains: Floats) -> tuple[float, float]:
    """A >= 0 and e in [0.01, 1] of ``gain = A quantity^e``, by least squares."""
    grid = np.linspace(0.01, 1, 100)
    powers = np.maximum(quantities, 0)[None] ** grid[:, None]
    sizes = np.maximum(powers @ gains / np.maximum((powers**2).sum(1), 1e-12), 0)
    errors = ((sizes[:, None] * powers - gains[None]) ** 2).sum(1)
    best = int(errors.argmin())
    return float(sizes[best]), float(grid[best])


def kinds_of(learner: Learner) -> Rows:
    """Classes; of numbers to predict the fifth of their range that they are in, by rank."""
    if learner.classes:
        return learner.targets.astype(np.int64)
    ranks = learner.targets.argsort(kind="stable").argsort(kind="stable")
    return ranks * NUMBER_KINDS // len(ranks)
