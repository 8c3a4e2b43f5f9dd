"""What holds for every test: no network, one thread, no GPU test without a GPU; and the tiny models."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import genunlearn  # noqa: F401  # before torch: it keeps the threads of a lab from spinning beside other workers

if TYPE_CHECKING:
    from genunlearn.domains.lm.adapter import LanguageModel
    from tests.world import World

NETWORK = os.environ.get("GENUNLEARN_TEST_NETWORK") == "1"

if not NETWORK:  # before anything imports the hub's client, which reads it once
    os.environ["HF_HUB_OFFLINE"] = "1"
# Models of a test are so small that threads waiting for each other would cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Nothing is compiled here, and loading the compiler takes each of the many processes two seconds (bitsandbytes).
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Tests are about the CPU, unless those that are about a GPU are asked for by `-m gpu`."""
    if "gpu" not in (config.option.markexpr or "") or "not gpu" in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks; processes that a test starts inherit it
    config.option.loadscopereorder = False  # files go to workers in the order below, not by their number of tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = {}
    if not NETWORK:
        skips["network"] = "reaches the model hub: set GENUNLEARN_TEST_NETWORK=1"
    if any("gpu" in item.keywords for item in items):
        import torch

        if not torch.cuda.is_available():
            skips["gpu"] = "needs a CUDA device"
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # so that no worker is left alone with a long file at the end
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
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """The little world of a domain, made once; its model is loaded anew each time."""
    from tests.worlds import WORLDS

    return cache(lambda domain: WORLDS[domain](tmp_path_factory.mktemp(domain)))


@pytest.fixture
def world(worlds: Callable[[str], World]) -> World:
    """The little world of language models."""
    return worlds("lm")


@pytest.fixture
def tiny(tiny_folder: Callable[[str], Path]) -> Callable[[str], LanguageModel]:
    """A freshly loaded tiny model of a family, with random weights."""
    from genunlearn.domains.lm.adapter import LanguageModel

    return lambda name: LanguageModel.load(str(tiny_folder(name)), device="cpu")


@pytest.fixture
def opens_images() -> None:
    """Skips where image processors need torchvision: with older releases of transformers."""
    from transformers import AutoImageProcessor

    try:
        AutoImageProcessor.from_pretrained  # noqa: B018
    except ImportError:
        pytest.skip("this release of transformers opens image processors with torchvision only")
