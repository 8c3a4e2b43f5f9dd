"""Facial expression data sets in the layouts that their owners give out; a clip becomes its dynamic image.

fer2013.csv                      columns ``emotion`` (0 to 6), ``pixels`` (48 x 48 numbers), ``Usage``
[SPLIT/]CLASS/PICTURE            a folder a class
[SPLIT/]CLASS/CLIP/FRAME         a folder a clip, frames in the order of their names

SPLIT is ``train`` or ``test``; without them a quarter of the pictures or clips of each class is for testing. Faces are
biometric data and these sets are licensed: nothing is fetched, and what is read is checked, not trusted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genunlearn.data.network.items import Item
from genunlearn.data.rows import check_is_file
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.ops.dynamic_images import dynamic_image

Splits = tuple[list[Item], list[Item]]
EXPRESSIONS, SIDE = 7, 48
"""Of FER2013."""
USAGES = {"Training": 0, "PublicTest": None, "PrivateTest": 1}
"""Which split a row of FER2013 belongs to; the public test rows, meant for tuning, are left out."""
LARGEST_SIDE = 4096
MOST_FRAMES = 512
TEST_EVERY = 4
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})


def read_expressions(source: Path | str, size: int) -> Splits:
    """Training and test items, grey pictures ``(1, size, size)`` in [-1, 1].

    Args:
        source: A CSV file or a folder, see the module.
        size: Sides in pixels.

    Raises:
        SourceNotFound: It is not there.
        DataError: A row, picture or clip cannot be used; the message names it.
    """
    place = Path(source)
    try:
        if place.is_dir():
            return _read_folder(place, size)
        if place.exists():
            check_is_file(place)
            return read_fer(place, size)
    except OSError as error:
        if isinstance(error, SourceNotFound):
            raise
        raise DataError(f"request.data = {str(source)[:200]!r}: cannot be read ({error.strerror or error})") from None
    raise SourceNotFound(
        f"request.data = {str(source)[:200]!r}: no such file or folder; or take lab:digits, made:clips"
    )


# ---- FER2013 ----------------------------------------------------------------------------------------------------


def read_fer(path: Path, size: int) -> Splits:
    """The CSV file of FER2013, rows in their order.

    Raises:
        DataError: It has other columns, or a row holds something else than they say.
    """
    sides: Splits = ([], [])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if rows.fieldnames is None:
                raise DataError(f"{path}: the file is empty: give the columns emotion, pixels and Usage, and rows")
            if missing := {"emotion", "pixels", "Usage"} - set(rows.fieldnames or ()):
                raise DataError(f"{path}: no column {', '.join(sorted(missing))}: give emotion, pixels and Usage")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                side = _usage(row["Usage"], where)
                target = _number(row["emotion"], EXPRESSIONS - 1, f"{where}: emotion")
                if side is not None:
                    item = _item(f"fer-{rows.line_num}", _scaled(_pixels(row["pixels"], where), size), target)
                    sides[side].append(item)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    return _checked(sides, path)


def _usage(text: str | None, where: str) -> int | None:
    if text not in USAGES:
        raise DataError(f"{where}: Usage {str(text)[:40]!r}: one of {', '.join(USAGES)}")
    return USAGES[text]


def _number(text: str | None, most: int, what: str) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > most:
        raise DataError(f"{what} {str(text)[:40]!r}: give a whole number from 0 to {most}")
    return int(text)


def _pixels(text: str | None, where: str) -> Tensor:
    words = (text or "").split()
    if len(words) != SIDE * SIDE:
        raise DataError(f"{where}: {len(words)} pixels: a row has {SIDE} x {SIDE} = {SIDE * SIDE}")
    levels = [_number(word, 255, f"{where}: pixel") for word in words]
    return torch.tensor(levels, dtype=torch.float32).view(1, SIDE, SIDE)


# ---- folders ----------------------------------------------------------------------------------------------------


def _read_folder(root: Path, size: int) -> Splits:
    given = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if len(given) == 1:
        raise DataError(f"{root}: only {given[0].name} in it: give train and test, or class folders alone")
    places = given or [root]
    names = sorted({path.name for place in places for path in _inside(place) if path.is_dir()})
    if len(names) < 2:
        raise DataError(f"{root}: {len(names)} class folders: give at least two, with pictures or clips in them")
    sides: Splits = ([], [])
    for place in places:
        for target, name in enumerate(names):
            examples = _inside(place / name) if (place / name).is_dir() else []
            for number, path in enumerate(examples):
                side = given.index(place) if given else int(number % TEST_EVERY == TEST_EVERY - 1)
                picture = _clip(path, size) if path.is_dir() else _scaled(_open(path), size)
                sides[side].append(_item(path.relative_to(root).as_posix(), picture, target))
    if not given and not sides[1] and sides[0]:
        raise DataError(
            f"{root}: no class has {TEST_EVERY} pictures or clips, of which every fourth is for testing: give more, or "
            "train and test"
        )
    return _checked(sides, root)


def _inside(folder: Path) -> list[Path]:
    """Folders and pictures, in the natural order of their names; hidden files and notes beside them are left out."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted((path for path in found if path.is_dir() or path.suffix.lower() in SUFFIXES), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """``img2`` before ``img10``."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part[:18]), part) if part.isdecimal() else (-1, part) for part in parts]


def _clip(folder: Path, size: int) -> Tensor:
    frames = [path for path in _inside(folder) if not path.is_dir()]
    if not 2 <= len(frames) <= MOST_FRAMES:
        raise DataError(f"{folder}: {len(frames)} frames: a clip has 2 to {MOST_FRAMES}")
    return clip_picture(torch.stack([_scaled(_open(path), size) for path in frames]))


def clip_picture(frames: Tensor) -> Tensor:
    """A clip as one picture in [-1, 1]: its dynamic image over its largest absolute value, so that rest stays 0."""
    found = dynamic_image(frames)
    return found / found.abs().max().clamp_min(1e-6)


def _open(path: Path) -> Tensor:
    """Grey levels ``(1, height, width)``; sizes are looked at before anything is unpacked."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise DataError(f"{path}: {picture.size[0]} x {picture.size[1]} pixels: at most {LARGEST_SIDE} a side")
            levels = np.asarray(picture.convert("L"), dtype=np.float32)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a picture that can be read ({error}): take it out") from None
    return torch.from_numpy(levels.copy())[None]


def _scaled(levels: Tensor, size: int) -> Tensor:
    """Grey levels up to 255 as a square in [-1, 1]."""
    if tuple(levels.shape[1:]) != (size, size):
        levels = F.interpolate(levels[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    return levels / 127.5 - 1


def _item(name: str, picture: Tensor, target: int) -> Item:
    return Item(id=name, inputs={"x": picture}, target=torch.tensor(target))


def _checked(sides: Splits, source: Path) -> Splits:
    for name, items in zip(("training", "test"), sides, strict=True):
        if not items:
            raise DataError(f"{source}: no {name} items in it")
    return sides


# ---- made clips -------------------------------------------------------------------------------------------------

MOVEMENTS = ("rises", "falls", "turns left", "turns right")
CLIP_FRAMES, CLIP_SIDE = 8, 16
FARTHEST, WIDEST = 0.35, 0.7
"""Of a movement at its height: a share of half the picture, and radians."""


def made_clips(pictures: Sequence[Tensor], *, seed: int = 0) -> Iterator[tuple[Tensor, int]]:
    """A small clip of each picture, and which of `MOVEMENTS` it shows, each in turn.

    As an expression does, a movement begins at rest and grows; how far it goes is drawn by the seed. One frame alone
    does not tell the class, the clip does.

    Args:
        pictures: ``(1, height, width)`` each.
        seed: Of the draws.

    Yields:
        Frames ``(8, 1, 16, 16)`` in the pictures' units, and the class number.
    """
    draw = np.random.default_rng(seed)
    for number, picture in enumerate(pictures):
        target = number % len(MOVEMENTS)
        sign, strength, place = 1 - 2 * (target % 2), draw.uniform(0.4, 1.0), draw.uniform(-0.2, 0.2, 2)
        grown = strength * torch.linspace(0, 1, CLIP_FRAMES)
        shift = sign * FARTHEST * grown if target < 2 else torch.zeros(CLIP_FRAMES)
        angle = sign * WIDEST * grown if target >= 2 else torch.zeros(CLIP_FRAMES)
        maps = torch.zeros(CLIP_FRAMES, 2, 3)
        maps[:, 0, 0], maps[:, 0, 1] = 1.5 * angle.cos(), -1.5 * angle.sin()
        maps[:, 1, 0], maps[:, 1, 1] = 1.5 * angle.sin(), 1.5 * angle.cos()
        maps[:, 0, 2], maps[:, 1, 2] = float(place[0]), float(place[1]) + 1.5 * shift
        low = picture.min()
        grid = F.affine_grid(maps, [CLIP_FRAMES, 1, CLIP_SIDE, CLIP_SIDE], align_corners=False)
        frames = F.grid_sample((picture - low).expand(CLIP_FRAMES, -1, -1, -1), grid, align_corners=False)
        yield frames + low, target
