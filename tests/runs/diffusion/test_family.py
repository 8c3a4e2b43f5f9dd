"""Pipelines as a run sees them: what a stop level needs."""

from __future__ import annotations

from typing import Any

import pytest

from genunlearn.config import build_config
from genunlearn.engine.progress import Watch
from genunlearn.runs.diffusion.family import DiffusionFamily


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"model": {"source": "some/model"}}, "nobody says whether images show the concept"),
        ({"model": {"source": "some/model"}, "evaluate": {"judge": "folder"}}, None),
        ({"model": {"source": "lab:diffusion"}}, None),
    ],
)
def test_a_stop_level_needs_somebody_who_looks_at_images(sections: dict[str, Any], reason: str | None) -> None:
    config: Any = build_config({"domain": "diffusion", "method": {"name": "esd"}, **sections})
    found = DiffusionFamily(config, Watch(is_shown=False)).cannot_stop(None)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)
