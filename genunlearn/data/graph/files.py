"""Graphs from files: the published Planetoid Cora, or one's own in NumPy's format; and PyTorch Geometric's data.

The raw files of Planetoid are pickles, which can run code. They are opened only if each is, by its hash, the published
one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genunlearn.data.archives import read_archive
from genunlearn.data.graph.graph import Graph
from genunlearn.errors import DataError, MismatchError, SourceNotFound
from genunlearn.registry import require

CORA = {
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
}
"""SHA-256 of the files of ``kimiyoung/planetoid`` that make up Cora."""
ARRAYS = "an .npz file with x (nodes, features), edge_index (2, edges) and y (nodes)"


def read_graph(path: Path | str) -> Graph:
    """A graph from a folder with Planetoid's Cora (or with a folder ``raw`` that holds it), or from an ``.npz`` file.

    Features of Cora are divided by their sum over each node, as is usual there.

    Raises:
        SourceNotFound: There is nothing to read at `path`.
        DataError: The file is no graph.
        MismatchError: A file of Cora is not the published one.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _read_arrays(path)
    for folder in (path, path / "raw", path / "Cora" / "raw"):
        if (folder / "ind.cora.graph").is_file():
            return _read_cora(folder)
    raise SourceNotFound(
        f"request.data = {str(path)!r}: no graph there: give the folder of Planetoid's Cora, or {ARRAYS}"
    )


def as_graph(data: Any) -> Graph:
    """A graph from PyTorch Geometric's ``Data`` (``x``, ``edge_index``, perhaps ``y``); a `Graph` is kept.

    Raises:
        DataError: It is none, or its parts do not belong together.
    """
    if isinstance(data, Graph):
        return data
    x, edges, y = (getattr(data, name, None) for name in ("x", "edge_index", "y"))
    if not isinstance(x, Tensor) or not isinstance(edges, Tensor):
        raise DataError(f"graph is a {type(data).__name__}: give torch_geometric.data.Data with x and edge_index")
    return Graph.of(x.detach().cpu(), edges.detach().cpu(), None if y is None else y.detach().cpu().squeeze())


def _read_arrays(path: Path) -> Graph:
    arrays = read_archive(path, ("x", "edge_index"), ARRAYS, optional=("y",))
    for name, array in arrays.items():
        if array.dtype.kind not in ("fiub" if name == "x" else "iu"):
            raise DataError(f"{path}: {name!r} is an array of {array.dtype}: give {ARRAYS}, in numbers")
    # torch has neither foreign byte orders nor most of what is asked of unsigned numbers
    of = {
        name: torch.from_numpy(array.astype(np.float32 if name == "x" else np.int64)) for name, array in arrays.items()
    }
    return Graph.of(of["x"], of["edge_index"], of.get("y"))


def _read_cora(folder: Path) -> Graph:
    require("torch_geometric", "Planetoid's Cora")
    for name, digest in CORA.items():
        if not (folder / name).is_file():
            raise SourceNotFound(f"{folder}: {name} is missing: copy all of {', '.join(CORA)}")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise MismatchError(
                f"{folder / name}: not the published file by its hash; it is a pickle, which can run code, and is not "
                "opened: fetch it from kimiyoung/planetoid"
            )
    from torch_geometric.io import read_planetoid_data

    data = read_planetoid_data(str(folder), "cora")
    return Graph.of(data.x / data.x.sum(1, keepdim=True).clamp_min(1), data.edge_index, data.y)
