"""What holds for every test: no network, one thread, no GPU test without a GPU; and the tiny models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from genunlearn.domains.lm import LanguageModel

NETWORK = os.environ.get("GENUNLEARN_TEST_NETWORK") == "1"

if not NETWORK:  # before anything imports the hub's client, which reads it once
    os.environ["HF_HUB_OFFLINE"] = "1"
# Models of a test are so small that threads waiting for each other would cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = {}
    if not NETWORK:
        skips["network"] = "reaches the model hub: set GENUNLEARN_TEST_NETWORK=1"
    if any("gpu" in item.keywords for item in items):
        import torch

        if not torch.cuda.is_available():
            skips["gpu"] = "needs a CUDA device"
    for item in items:
        for marker, reason in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny model of a family, made once; not to be written to."""
    from tests.tiny_models import build

    root = tmp_path_factory.mktemp("tiny")
    return lambda name: root / name if (root / name).is_dir() else build(name, root / name)


@pytest.fixture(scope="session")
def taught_folder(tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that answers the questions of `tests.tiny_models.TAUGHT`; not to be written to."""
    from tests.tiny_models import TAUGHT, teach

    folder = tmp_path_factory.mktemp("taught") / "llama"
    shutil.copytree(tiny_folder("llama"), folder)
    return teach(folder, TAUGHT)


@pytest.fixture
def tiny(tiny_folder: Callable[[str], Path]) -> Callable[[str], LanguageModel]:
    """A freshly loaded tiny model of a family."""
    from genunlearn.domains.lm import LanguageModel

    return lambda name="llama": LanguageModel.load(str(tiny_folder(name)), device="cpu")


@pytest.fixture
def taught(taught_folder: Path) -> LanguageModel:
    """The freshly loaded taught model."""
    from genunlearn.domains.lm import LanguageModel

    return LanguageModel.load(str(taught_folder), device="cpu")
