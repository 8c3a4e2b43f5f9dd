"""Link stealing: do the answers about two nodes still betray that they were linked?

Nodes that are linked hear each other's messages, so that a network answers alike about them. The attacker compares the
answers of the two nodes of each deleted link with those of pairs that never had one, for the same first nodes.

Source: He, Jia, Backes, Gong, Zhang, "Stealing Links from Graph Neural Networks" (USENIX Security 2021), attack 0:
unsupervised, by a distance of answers.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.graph.graph import Graph
from genunlearn.data.graph.requests import GraphContext
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.ops.membership import auc
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LinkStealing(Attack[GraphModel]):
    """Area under the ROC curve of deleted links against pairs without one, by how alike answers are: 0.5 is chance.

    Nodes that are linked are alike for other reasons too (homophily), which the oracle's row shows.
    """

    name: ClassVar[str] = "link_stealing"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    likeness: Annotated[Literal["correlation", "cosine"], Field(description="of the answers about two nodes")] = (
        "correlation"
    )
    seed: Annotated[int, Field(ge=0, description="of the pairs without a link")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"answers about nodes (their embeddings where links are predicted); {self.likeness} of two nodes"

    def lacking(self, model: GraphModel, splits: Splits[GraphContext], beside: Beside[GraphModel]) -> str | None:
        """Links that were deleted."""
        if splits.context is None or not len(splits.context.severed):
            return "no link was deleted"
        return None

    def attack(
        self, model: GraphModel, splits: Splits[GraphContext], target: str, beside: Beside[GraphModel]
    ) -> list[Result]:
        """One result, with DeLong's interval."""
        assert splits.context is not None  # see `lacking`
        links = splits.context.severed
        others = strangers(splits.context.before, links, self.seed)
        answers = model.embeddings()
        if model.task == "node":
            answers = answers.softmax(1)
        scores = [self._alike(answers[pairs[:, 0]], answers[pairs[:, 1]]) for pairs in (links, others)]
        return [self.result(target, auc(*scores), len(links) + len(others))]

    def _alike(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = first.double(), second.double()
        if self.likeness == "correlation":
            first, second = (side - side.mean(1, keepdim=True) for side in (first, second))
        return torch.nn.functional.cosine_similarity(first, second, dim=1)


def strangers(graph: Graph, links: Tensor, seed: int) -> Tensor:
    """For each link its first node and another that it was never linked with, ``(links, 2)``; where all are, itself."""
    generator = torch.Generator().manual_seed(seed)
    taken = torch.cat([graph.links, graph.links.flip(1)])
    codes = taken[:, 0] * graph.num_nodes + taken[:, 1]
    others = links[:, 0].clone()
    for _ in range(100):
        is_open = (others == links[:, 0]) | torch.isin(links[:, 0] * graph.num_nodes + others, codes)
        if not is_open.any():
            break
        others[is_open] = torch.randint(graph.num_nodes, (int(is_open.sum()),), generator=generator)
    return torch.stack([links[:, 0], others], dim=1)
