"""What a valuation is about: training items, validation items that values are for, test items that costs are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genunlearn.config import ModelConfig
from genunlearn.config.network import NetworkConfig, NetworkRequestConfig, NetworkValueConfig
from genunlearn.data.network.folders import read_item_folder
from genunlearn.data.network.items import Encode, Item, as_items, hash_items, targets_of
from genunlearn.data.network.subsets import ADVERSARIAL, choose
from genunlearn.errors import ConfigError, DataError
from genunlearn.records import hash_json
from genunlearn.registry import LAB, unknown_name
from genunlearn.runs.network.request import study_of
from genunlearn.valuation.game import Rows

if TYPE_CHECKING:
    from genunlearn.lab.network.study import Study

BUNDLED = "sklearn:"
SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")
TEST_SHARE = 0.4
"""Of a bundled set: half of it is for validation."""


@dataclass(frozen=True, kw_only=True)
class ValueData:
    """Items and the sets whose cost is asked.

    Attributes:
        train: What is valued.
        valid: What values are for.
        test: What costs and curves are measured on; no value depends on it.
        requests: Row numbers of `train` by the name of the request.
    """

    train: Sequence[Item]
    valid: Sequence[Item]
    test: Sequence[Item]
    requests: Mapping[str, Rows]

    @property
    def is_regression(self) -> bool:
        """Whether the targets are numbers to predict."""
        return targets_of(self.train[:1]).is_floating_point()

    @property
    def sha256(self) -> str:
        """Hash of the items and of what is asked."""
        sides = [hash_items(side) for side in (self.train, self.valid, self.test)]
        return hash_json([sides, {name: rows.tolist() for name, rows in self.requests.items()}])


def read_data(config: NetworkValueConfig, encode: Encode | None = None) -> ValueData:
    """Read and check the data of a valuation.

    Args:
        config: The run.
        encode: Turns a text or image of a folder into named tensors.

    Raises:
        ConfigError: There is no data, or model and data do not go together.
        DataError: A request marks nothing or everything, or needs a trained model.
        SourceNotFound: The data is not there.
    """
    train, rest = _items(config, encode)
    order = np.random.default_rng(config.seed).permutation(len(rest))
    if len(rest) < 4:
        raise DataError(f"{len(rest)} test items: a valuation needs at least 4, half of them for validation")
    half = len(rest) // 2
    if config.request.limit is not None and config.request.limit < len(train):
        kept = np.random.default_rng(config.seed).permutation(len(train))[: config.request.limit]
        train = [train[row] for row in np.sort(kept)]
    data = ValueData(
        train=train,
        valid=[rest[row] for row in order[:half]],
        test=[rest[row] for row in order[half:]],
        requests={name: _rows(train, name, config.seed) for name in dict.fromkeys(config.request.requests)},
    )
    if data.is_regression != (config.domain == "regression"):
        kind = "numbers" if data.is_regression else "classes"
        raise ConfigError(f"domain = {config.domain!r}: the targets are {kind}; take the other domain")
    if config.request.level == "requests":
        _check_players(data.requests)
    return data


def study_behind(config: NetworkValueConfig, source: str) -> Study:
    """The lab's study of a name, see `genunlearn.runs.network.request.study_of`."""
    first = next((name for name in config.request.requests if name.startswith("subclass:")), None)
    request = NetworkRequestConfig(forget=first)
    return study_of(NetworkConfig(domain=config.domain, model=ModelConfig(source=source), request=request))


def _items(config: NetworkValueConfig, encode: Encode | None) -> tuple[list[Item], list[Item]]:
    """Training items, and those that are not learnt from."""
    model, source = config.model.source, config.request.data
    if model.startswith(LAB) and source not in (None, model):
        raise ConfigError(f"request.data = {source!r}: {model} brings its own; leave it out")
    source = source or (model if model.startswith(LAB) else "")
    if not source:
        raise ConfigError("request.data is empty: name lab:digits, sklearn:wine or a folder (--data)")
    if source.startswith(LAB):
        known = study_behind(config, source).data
        return list(known.train), list(known.test)
    if source.startswith(BUNDLED):
        return _bundled(source.removeprefix(BUNDLED))
    splits = read_item_folder(source, encode=encode)
    if "test" not in splits:
        raise DataError(f"{source}: no split test: values are for items that are not learnt from")
    train = splits.get("train") or [*splits.get("forget", ()), *splits.get("retain", ())]
    return list(train), list(splits["test"])


def _bundled(name: str) -> tuple[list[Item], list[Item]]:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if name not in SETS:
        raise unknown_name("data set of scikit-learn", name, SETS)
    loaders: Mapping[str, Callable[[], Any]] = {each: getattr(datasets, f"load_{each}") for each in SETS}
    found = loaders[name]()
    # classes become whole numbers, and the disease progression of the diabetes set a float
    targets = torch.from_numpy(found.target)
    items = as_items((torch.from_numpy(found.data).float(), targets), prefix=f"{name}-")
    kinds = None if targets.is_floating_point() else found.target
    train, rest = train_test_split(items, test_size=TEST_SHARE, stratify=kinds, random_state=0)
    return train, rest


def _rows(train: Sequence[Item], name: str, seed: int) -> Rows:
    if name.partition(":")[0] in ADVERSARIAL:
        raise DataError(f"request {name!r} ranks items by a trained model: value random:, class:, index: or mask: sets")
    return choose(train, name, seed=seed).numpy().nonzero()[0]


def _check_players(requests: Mapping[str, Rows]) -> None:
    """Refuse requests that cannot play against each other.

    Raises:
        ConfigError: There is none.
        DataError: Two of them share an item.
    """
    if not requests:
        raise ConfigError("request.level = 'requests' without requests: give some (--request class:3)")
    seen: dict[int, str] = {}
    for name, rows in requests.items():
        if shared := [row for row in rows.tolist() if row in seen]:
            raise DataError(f"{seen[shared[0]]} and {name} share {len(shared)} items: players must be apart")
        seen |= dict.fromkeys(rows.tolist(), name)
