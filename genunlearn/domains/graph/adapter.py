"""Graph networks: any module of PyTorch Geometric that is called with features and edges.

What is asked about nodes and about pairs of nodes is the same: logits over classes. A network that predicts links
answers a pair with ``(0, z_u . z_v)``, so that the softmax of the second is the sigmoid of the product.

Every answer is given on `graph`, which lacks what is to be forgotten.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from genunlearn.contracts import Examples, LabelledDomain
from genunlearn.domains.files import read_json
from genunlearn.domains.fresh import reset_weights
from genunlearn.domains.graph.layers import DeletionLayer, message_layers, replace_layer, watched
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.records import honour_umask

WEIGHTS_NAME, SHAPE_NAME = "model.safetensors", "network.json"
NETWORKS = {"gcn": "GCN", "gat": "GAT", "gin": "GIN", "graph_sage": "GraphSAGE"}
"""Networks of PyTorch Geometric by the name that configurations give them."""


class GraphLike(Protocol):
    """What a network sees: `genunlearn.data.graph.graph.Graph`."""

    @property
    def x(self) -> Tensor:
        """``(nodes, features)``."""

    @property
    def edge_index(self) -> Tensor:
        """``(2, edges)``."""


class GraphModel(LabelledDomain):
    """A graph network with the graph that it is asked on.

    Attributes:
        module: Called with ``(x, edge_index)``, returns ``(nodes, outputs)``: logits over classes, or the embeddings
            whose products say whether two nodes are linked.
        task: ``node`` or ``link``.
        graph: What messages are passed on.
        shape: What `build_network` made it of; None for a caller's own module.
    """

    name: ClassVar[str] = "graph"
    offers = frozenset({"example_loss", "output_logits", "output_labels", "reinitialise"})
    has_labels = True
    packages = ("torch_geometric",)
    learns_statistics = True
    """Every pass sees the whole graph, so that running statistics are those of the graph."""

    def __init__(
        self,
        module: nn.Module,
        graph: GraphLike,
        *,
        task: Literal["node", "link"] = "node",
        shape: dict[str, Any] | None = None,
        build: Callable[[], nn.Module] | None = None,
    ) -> None:
        """Wrap a network; `build` makes an untrained one where some weights cannot be drawn anew by their own parts."""
        self.module, self.graph, self.task, self.shape, self._build = module, graph, task, shape, build

    def on(self, graph: GraphLike) -> Self:
        """The same network, asked on another graph."""
        other = copy.copy(self)
        other.graph = graph
        return other

    def check(self, classes: int | None = None) -> None:
        """Refuse a graph that the network cannot be asked on.

        Raises:
            MismatchError: Its features do not fit, it answers with something else than a row for each node, or it has
                fewer outputs than there are `classes`.
        """
        message_layers(self.network)
        nodes, features = self.graph.x.shape
        try:
            with self.inference(), torch.no_grad():
                outputs = self.embed()
        except MismatchError:
            raise
        except Exception as error:  # whatever the caller's own code raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MismatchError(
                f"the network cannot be asked on a graph of {nodes} nodes with {features} features each: {reason}"
            ) from error
        if classes is not None and outputs.shape[1] < classes:
            raise MismatchError(f"the network has {outputs.shape[1]} outputs, and nodes have {classes} classes")

    # ---- forward -------------------------------------------------------------------------------------------

    def collate(self, items: Sequence[Any]) -> Examples:
        """Stack items; see `genunlearn.data.graph.graph.GraphItem`."""
        tensors = {
            "nodes": torch.tensor([item.nodes for item in items]),
            "target": torch.tensor([item.target for item in items]),
        }
        tensors |= {name: torch.stack([item.extras[name] for item in items]) for name in items[0].extras}
        return Examples(tuple(item.id for item in items), torch.ones(len(items)), tensors).to(self.device)

    def embed(self) -> Tensor:
        """What the network says of every node, ``(nodes, outputs)``.

        Raises:
            MismatchError: It returns something else.
        """
        outputs = self.module(self.graph.x.to(self.device), self.graph.edge_index.to(self.device))
        if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != len(self.graph.x):
            what = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise MismatchError(
                f"the network returns {what}: it must return one row for each of {len(self.graph.x)} nodes"
            )
        return outputs

    def output_logits(self, examples: Examples) -> Tensor:
        """Logits over classes, ``(batch, classes)``; for pairs over "no link" and "link"."""
        return self._decode(self.embed(), examples["nodes"])

    def output_labels(self, examples: Examples) -> Tensor:
        """Class numbers, ``(batch,)``."""
        return examples["target"]

    @override
    def example_loss(self, examples: Examples) -> Tensor:
        return F.cross_entropy(self.output_logits(examples).float(), examples["target"], reduction="none")

    def layer_outputs(self, examples: Examples) -> list[Tensor]:
        """What each message-passing layer says of the nodes of each example, ``(batch, nodes of one, width)``."""
        _, layers = watched(self.network, message_layers(self.network), self.embed)
        return [layer[examples["nodes"]] for layer in layers]

    def predict(self, items: Sequence[Any]) -> Tensor:
        """Logits of all items in evaluation mode, ``(items, classes)`` in float32 on the CPU."""
        with self.inference(), torch.no_grad():
            return self.output_logits(self.collate(items)).float().cpu()

    def embeddings(self) -> Tensor:
        """What the network says of every node in evaluation mode, ``(nodes, outputs)`` in float32 on the CPU."""
        with self.inference(), torch.no_grad():
            return self.embed().float().cpu()

    def inference(self) -> Any:
        """Evaluation mode within the block."""
        return evaluating(self.module)

    def _decode(self, rows: Tensor, nodes: Tensor) -> Tensor:
        if self.task == "node":
            return rows[nodes[:, 0]]
        score = (rows[nodes[:, 0]] * rows[nodes[:, 1]]).sum(1)
        return torch.stack([torch.zeros_like(score), score], dim=1)

    # ---- fresh weights -------------------------------------------------------------------------------------

    def fresh(self, seed: int) -> Self:
        """A second network of the same architecture with weights drawn anew by `seed`.

        Raises:
            MismatchError: Some weights belong to a part that cannot draw them anew, and no ``build`` was given.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            if self._build is not None:
                module = self._build().to(self.device)
            else:
                module = copy.deepcopy(self.network)
                reset_weights(module)
        other = copy.copy(self)
        other.module = module.requires_grad_(True)
        return other

    def reinitialise(self, seed: int) -> None:
        """Draw this network's own weights anew by `seed`."""
        self.network.load_state_dict(self.fresh(seed).network.state_dict())

    # ---- files ---------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the weights, and what the network is made of where it is one of `NETWORKS`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}, folder / WEIGHTS_NAME
        )
        if self.shape is not None:
            said = {**self.shape, "task": self.task}
            (folder / SHAPE_NAME).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        honour_umask(folder)

    def load_weights(self, folder: Path) -> None:
        """Read what `save` has written into this network; deletion operators are put in where the weights have some.

        Raises:
            SourceNotFound: `folder` holds no weights.
            MismatchError: The weights belong to another architecture.
        """
        from safetensors.torch import load_file

        path = folder / WEIGHTS_NAME
        if not path.is_file():
            raise SourceNotFound(f"no weights at {path}: give a folder that a graph network was saved to")
        state = load_file(path)
        try:
            for key in state:
                if key.endswith(".deletion"):
                    layer, rows, width = key.removesuffix(".deletion"), state[f"{key[:-8]}rows"], len(state[key])
                    replace_layer(self.network, layer, partial(DeletionLayer, rows=rows, width=width))
            self.network.load_state_dict(state)
        except (RuntimeError, AttributeError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise MismatchError(f"{path}: weights of another architecture ({reason})") from error


def build_network(
    kind: str, features: int, outputs: int, *, hidden: int, layers: int = 2
) -> tuple[nn.Module, dict[str, Any]]:
    """An untrained network of PyTorch Geometric, and what it is made of.

    Args:
        kind: One of `NETWORKS`.
        features: Features of a node.
        outputs: Classes, or the width of embeddings.
        hidden: Width of the layers between.
        layers: Message-passing layers.
    """
    import torch_geometric.nn

    shape = {"network": kind, "features": features, "outputs": outputs, "hidden": hidden, "layers": layers}
    return getattr(torch_geometric.nn, NETWORKS[kind])(features, hidden, layers, outputs), shape


def read_shape(folder: Path) -> dict[str, Any]:
    """What a saved network is made of, with its ``task``.

    Raises:
        SourceNotFound: The folder holds no graph network of `NETWORKS`, or a damaged one.
    """
    path = folder / SHAPE_NAME
    if not path.is_file():
        raise SourceNotFound(f"{folder}: no {SHAPE_NAME}: give a folder that a run on a graph has written (OUT/model)")
    said = read_json(path)
    sizes = ("features", "outputs", "hidden", "layers")
    is_sound = said.get("network") in NETWORKS and said.get("task") in ("node", "link")
    if not is_sound or not all(isinstance(said.get(key), int) and 0 < said[key] < 2**20 for key in sizes):
        raise SourceNotFound(f"{path}: damaged: it must name network, task, {', '.join(sizes)}")
    return said
