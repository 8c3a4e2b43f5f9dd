"""What a search is about: pictures for training and for testing, and which of them are to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genunlearn.backbones.search import SearchItems
from genunlearn.config import ModelConfig
from genunlearn.config.network import NetworkConfig, NetworkRequestConfig
from genunlearn.config.search import NetworkSearchConfig
from genunlearn.data.network.expressions import clip_picture, made_clips, read_expressions
from genunlearn.data.network.items import Item, hash_items, targets_of
from genunlearn.data.network.subsets import ADVERSARIAL, choose
from genunlearn.errors import ConfigError, DataError
from genunlearn.records import hash_json
from genunlearn.registry import LAB
from genunlearn.runs.network.request import study_of

MADE = "made:clips"


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """Pictures of one size, and a forget set among them.

    Attributes:
        train: What is learnt.
        test: What is never learnt.
        is_forget: Which of `train` are to be forgotten, ``(n,)``.
        classes: Their number.
    """

    train: Sequence[Item]
    test: Sequence[Item]
    is_forget: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of a picture."""
        return tuple(self.train[0].inputs["x"].shape)

    @property
    def sides(self) -> dict[str, list[Item]]:
        """The items that are measured, by group."""
        forget = [item for item, marked in zip(self.train, self.is_forget.tolist(), strict=True) if marked]
        return {"forget": forget, "retain": self.retain, "test": list(self.test)}

    @property
    def retain(self) -> list[Item]:
        """What must stay."""
        return [item for item, marked in zip(self.train, self.is_forget.tolist(), strict=True) if not marked]

    @property
    def sha256(self) -> str:
        """Hash of the items and of the forget set."""
        return hash_json([hash_items(self.train), hash_items(self.test), self.is_forget.tolist()])

    def halves(self, seed: int) -> SearchItems:
        """Training items in two halves, drawn by the seed; half of the forget set is in each."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.train)))
        order = torch.cat([order[self.is_forget[order]], order[~self.is_forget[order]]])
        pictures, targets = torch.stack([item.inputs["x"] for item in self.train]), targets_of(self.train)
        first, second = order[::2], order[1::2]
        return SearchItems(
            train=(pictures[first], targets[first]),
            valid=(pictures[second], targets[second]),
            is_forget=self.is_forget[first],
        )


def read_search_data(config: NetworkSearchConfig) -> SearchData:
    """Read and check the data of a search.

    Raises:
        ConfigError: No data are named.
        DataError: They are no pictures of one size, too few, or the forget set cannot be drawn.
        SourceNotFound: The data is not there.
    """
    asked = config.request
    if asked.forget.partition(":")[0] in ADVERSARIAL:
        raise DataError(f"forget set {asked.forget!r} ranks items by a trained model: take class:, random: or index:")
    train, test = _items(config)
    if asked.limit is not None and asked.limit < len(train):
        kept = np.sort(np.random.default_rng(config.seed).permutation(len(train))[: asked.limit])
        train = [train[row] for row in kept]
    _check_pictures([*train, *test], asked.data)
    if len(train) < 8:
        raise DataError(
            f"{asked.data}: {len(train)} training items: a search needs at least 8, half of them to judge by"
        )
    classes = int(targets_of([*train, *test]).max()) + 1
    is_forget = choose(train, asked.forget, seed=config.seed).bool()
    if int((~is_forget).sum()) < 2:
        raise DataError(
            f"{asked.forget} leaves 1 item to retain: a search needs one in each half of the training items"
        )
    return SearchData(train=train, test=test, is_forget=is_forget, classes=classes)


def _items(config: NetworkSearchConfig) -> tuple[list[Item], list[Item]]:
    source = config.request.data
    if not source:
        raise ConfigError("request.data is empty: name lab:digits, made:clips, a FER2013 file or a folder (--data)")
    if source == MADE:
        return _made()
    if not source.startswith(LAB):
        return read_expressions(source, config.request.size)
    request = NetworkRequestConfig(forget=config.request.forget)
    known = study_of(NetworkConfig(model=ModelConfig(source=source), request=request)).data
    return list(known.train), list(known.test)


def _made() -> tuple[list[Item], list[Item]]:
    """Moving and rotating digits; the digit, as a person would be, is the sub-class."""
    from genunlearn.lab.network.digits import read_digits

    digits = read_digits(is_coarse=False)
    sides = []
    for seed, (name, items) in enumerate({"train": digits.train, "test": digits.test}.items()):
        clips = made_clips([item.inputs["x"] for item in items], seed=seed)
        sides.append(
            [
                Item(
                    id=f"{name}-{number}",
                    inputs={"x": clip_picture(frames)},
                    target=torch.tensor(target),
                    subclass=item.subclass,
                )
                for number, (item, (frames, target)) in enumerate(zip(items, clips, strict=True))
            ]
        )
    return sides[0], sides[1]


def _check_pictures(items: Sequence[Item], source: str) -> None:
    shapes = {tuple(item.inputs["x"].shape) if item.inputs.keys() == {"x"} else () for item in items}
    shape = next(iter(shapes))
    if len(shapes) != 1 or len(shape) != 3:
        raise DataError(f"{source}: no pictures of one size: cells are searched for pictures alone")
    if min(shape[1:]) < 4:
        raise DataError(f"{source}: pictures of {shape[1]} x {shape[2]}: cells halve them twice, give 4 x 4 or more")
