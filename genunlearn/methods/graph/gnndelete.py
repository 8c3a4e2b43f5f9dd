"""GNNDelete: the weights stay, and a matrix behind each layer deletes what the nodes nearby know.

    h'_l(v) = W_l h_l(v)   for nodes v at most l links from what is deleted,   h_l(v) otherwise
    L = alpha sum_l mean_F MSE( h'_l(v), h_l(random) ) + (1 - alpha) sum_l mean_S MSE( h'_l(w), h_l(w) )

F are the nodes that lose something (the ends of deleted links, deleted nodes), S those nearby that do not; ``h_l`` is
what the original's l-th layer says, and random nodes stand in for those of F: deleted edge consistency, and
neighbourhood influence. W begins at one thousandth everywhere.

Source: Cheng, Dasoulas, He, Agarwal, Zitnik, "GNNDelete: A General Strategy for Unlearning in Graph Neural Networks"
(ICLR 2023), and the authors' code (``gnndelete_nodeemb``: alpha 0.5, mean squared error; Adam 1e-3). Original
embeddings are those on the graph without the deleted links, as in the code.
Deviations: one loss is the sum over layers, where the authors' default steps each matrix on its own layer's loss; each
side's mean is over the nodes of a step. The forward hook that a layer's matrix needs is a module in the layer's place,
which is saved with the weights and belongs to this graph alone.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Examples,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.extras import with_extras
from genunlearn.data.graph.graph import GraphItem
from genunlearn.data.graph.requests import GraphContext
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.domains.graph.layers import DeletionLayer, message_layers, replace_layer
from genunlearn.errors import NeedNotMet
from genunlearn.methods.base import two_teachers

LAYER = "original_layer_"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LayerMatching(Objective[GraphModel]):
    """Every layer against what travels with the items, which are single nodes."""

    name: ClassVar[str] = "layer_matching"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    alpha: float

    def loss(self, batch: Batch, model: GraphModel, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""

        def apart(side: str, examples: Examples) -> Tensor:
            layers = model.layer_outputs(examples)
            squares = [(layer[:, 0] - examples[f"{LAYER}{n}"]).square().mean(1) for n, layer in enumerate(layers)]
            return torch.stack(squares).sum(0)

        return two_teachers(batch, apart, {"forget": self.alpha, "retain": 1 - self.alpha})


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GNNDelete(Protocol[GraphModel]):
    """Deletion operators behind every layer."""

    name: ClassVar[str] = "gnndelete"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    needs: ClassVar[Needs] = Needs(full_weights=True)
    paper: ClassVar[str] = "Cheng et al., ICLR 2023"
    equation: ClassVar[str] = "alpha MSE(W h(F), h(random)) + (1 - alpha) MSE(W h(S), h(S))"

    alpha: Annotated[
        float, Field(ge=0, le=1, description="weight of what is deleted; its neighbours have the rest")
    ] = 0.5
    seed: Annotated[int, Field(ge=0, description="of the random nodes")] = 0

    def run(self, train: Train, model: GraphModel, splits: Splits[GraphContext], journal: Journal) -> Outcome:
        """Put the operators in, train them alone, and leave them there.

        Raises:
            NeedNotMet: The request does not say which nodes lose something.
            MismatchError: The network has no layer that could be replaced.
        """
        if splits.context is None:
            raise NeedNotMet("method 'gnndelete' needs the graph of the request in the context of its splits")
        before, touched = splits.context.before, splits.context.touched
        names = message_layers(model.network)
        near = [before.near(touched, hops) for hops in range(1, len(names) + 1)]
        near[-1][touched] = True
        beside = near[-1].clone()
        beside[touched] = False
        layers = self._outputs(model, torch.arange(before.num_nodes))
        generator = torch.Generator().manual_seed(self.seed)
        random = torch.randint(before.num_nodes, (len(touched),), generator=generator)
        forget = _targets(touched, [layer[random] for layer in layers])
        retain = _targets(beside.nonzero().flatten(), [layer[beside] for layer in layers])
        trained = {name: weight.requires_grad for name, weight in model.network.named_parameters()}
        model.network.requires_grad_(False)
        for name, rows, layer in zip(names, near, layers, strict=True):
            replace_layer(model.network, name, partial(DeletionLayer, rows=rows, width=layer.shape[1]))
        model.network.to(model.device)
        train(LayerMatching(alpha=self.alpha), with_sides(splits, forget, retain or None))
        model.network.requires_grad_(any(trained.values()))
        return Outcome(
            status="trained",
            reason=f"{len(names)} deletion operators on {int(near[-1].sum())} of {before.num_nodes} nodes",
        )

    @staticmethod
    def _outputs(model: GraphModel, nodes: Tensor) -> list[Tensor]:
        with model.inference(), torch.no_grad():
            items = [GraphItem(id=str(node), nodes=(node,), target=0) for node in nodes.tolist()]
            return [layer[:, 0].cpu() for layer in model.layer_outputs(model.collate(items))]


def _targets(nodes: Tensor, layers: list[Tensor]) -> list[Any]:
    """Nodes, each with what every layer is to say of it."""
    items = [GraphItem(id=f"node {node}", nodes=(node,), target=0) for node in nodes.tolist()]
    return with_extras(items, **{f"{LAYER}{n}": layer for n, layer in enumerate(layers)})
