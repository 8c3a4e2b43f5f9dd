"""What holds for every test: no network, and no GPU test without a GPU."""

from __future__ import annotations

import os

import pytest

NETWORK = os.environ.get("GENUNLEARN_TEST_NETWORK") == "1"

if not NETWORK:  # before anything imports the hub's client, which reads it once
    os.environ["HF_HUB_OFFLINE"] = "1"


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
