"""RecEraser: only the shards are retrained that hold forgotten pairs.

    theta_k = train(theta_new, R_k)   for every shard k with F_k not empty

The model is a network for each shard of users, taught by their interactions alone (SISA). A model of one network is one
shard, and all of it is retrained.

Source: Chen, Sun, Zhang, Ding, "Recommendation Unlearning" (RecEraser, WWW 2022), with its balanced partition by user
(`genunlearn.data.recommender.shards`); Bourtoule et al., "Machine Unlearning" (SISA, IEEE S&P 2021). UltraRE (Li et
al., NeurIPS 2023) differs in how users are divided.
Deviations: a user is served by the network of the own shard, where RecEraser learns attention over all shards. The
shards were made with the forgotten interactions at hand and stay, here as there.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train, with_sides
from genunlearn.data.recommender.interactions import as_pairs
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.methods.general.supervised import Supervised


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RecEraser(Protocol[Recommender]):
    """Retraining of the shards that a request touches."""

    name: ClassVar[str] = "rec_eraser"
    domains: ClassVar[frozenset[str]] = frozenset({"recommender"})
    needs: ClassVar[Needs] = Needs(retain=True)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "anew"
    paper: ClassVar[str] = "Chen et al., WWW 2022"
    equation: ClassVar[str] = "BPR(R_k) from fresh weights for each shard k that F touches"

    init_seed: Annotated[int, Field(ge=0, description="seed of the fresh weights")] = 0

    def run(self, train: Train, model: Recommender, splits: Splits, journal: Journal) -> Outcome:
        """Draw the weights of each touched shard anew and teach it what stays of it, in as many steps as are set."""
        shards = model.shards
        if shards is None:
            model.reinitialise(self.init_seed)
            train(Supervised(), with_sides(splits, (), splits.retain))
            return Outcome(status="trained", reason="retrained the only shard: the model is one network")
        retain, touched = list(splits.retain or ()), shards[as_pairs(splits.forget)[:, 0]].unique().tolist()
        own = shards[as_pairs(retain)[:, 0]].tolist()
        count = int(shards.max()) + 1
        for number in touched:
            model.reset_part(model.network.parts[number], self.init_seed + number)
            kept = [one for one, shard in zip(retain, own, strict=True) if shard == number]
            if kept:
                train(Supervised(), with_sides(splits, (), kept))
        return Outcome(status="trained", reason=f"retrained {len(touched)} of {count} shards")
