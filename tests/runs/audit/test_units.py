"""Files of an audit: another one for every concept, and those of before are found again."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from genunlearn.engine.progress import Watch
from genunlearn.registry import ATTACKS
from genunlearn.runs.audit.pictures import Pictures
from genunlearn.runs.audit.units import Units, file_name

LABELS = [
    *("c", "c++", "c#", "c+", "猫", "狗", "кот", "пёс", "café", "cafe"),
    *("van gogh", "van-gogh", "van_gogh", "van  gogh"),
    *("a.b", "a b", "..", ".", " cat", "cat", "cat!", "x" * 300, "x" * 301, "~", ""),
]  # fmt: skip


def units(folder: Path) -> Units:
    return Units(folder, Watch(is_shown=False))


def test_every_concept_has_files_of_its_own(tmp_path: Path) -> None:
    for label in LABELS:
        unit = (f"{label}/p4d/original", lambda label=label: {"label": label})
        done = units(tmp_path).do("", [unit])
        assert done[f"{label}/p4d/original"] == {"label": label}
    assert len(list(tmp_path.iterdir())) == len(LABELS)
    names = {Pictures(tmp_path)._path(f"{label}/p4d/original", 0) for label in LABELS}
    assert len(names) == len(LABELS) and not any(".." in name.split("/") for name in names)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cat/plain prompts/original", "cat-plain-prompts-original"),
        ("Van Gogh/lora_removal/unlearned", "van-gogh-lora-removal-unlearned"),
        ("digit three/scores", "digit-three-scores"),
    ],
)
def test_plain_names_are_those_of_before(name: str, file: str, tmp_path: Path) -> None:
    units(tmp_path).do("", [(name, dict)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{file}.json"]


def test_pictures_of_plain_names_are_where_they_were(tmp_path: Path) -> None:
    Pictures(tmp_path).write("Van Gogh/psi = 0.5/original", torch.zeros(1, 3, 2, 2))
    (path,) = tmp_path.rglob("*.png")
    assert path.parent.relative_to(tmp_path).parts[-3:] == ("van-gogh", "psi-=-0.5", "original")


def test_no_attack_s_name_ends_in_another_s() -> None:
    # The words of a concept and of an attack stand side by side in the name of a file.
    names = [f"-{file_name(name, 1)}" for name in ATTACKS.names()] + ["-plain-prompts", "-completed", "-pool"]
    assert not [pair for pair in combinations(names, 2) if pair[0].endswith(pair[1]) or pair[1].endswith(pair[0])]
