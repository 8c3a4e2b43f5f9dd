"""Data sets of the hub, without the wait where it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from genunlearn.data.rows import Row
from genunlearn.errors import SourceNotFound

PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""


def hub_rows(name: str) -> list[Row]:
    """The rows of ``OWNER/NAME:CONFIG[:SPLIT]``, split ``train`` if it is left out; from the cache where it has them.

    Raises:
        SourceNotFound: The hub has no such data set, or cannot be reached and the cache has none.
    """
    from datasets import load_dataset

    dataset, *rest = name.split(":")
    config, split = [*rest, None, None][:2]
    with _offline_where_unreachable() as is_unreachable:
        try:
            rows = load_dataset(dataset, config, split=split or "train")
        except (OSError, ValueError, RuntimeError) as error:
            file = config or "NAME"
            remedy = f"give FOLDER:{file} of a local folder that holds {file}.jsonl"
            if is_unreachable:
                reason = "the hub cannot be reached, and its cache here has no such data set; fetch it once online, or"
                raise SourceNotFound(f"{name}: {reason} {remedy}") from error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceNotFound(
                f"{name}: cannot be had from the hub ({reason}); check the name, or {remedy}"
            ) from error
    return [Row(f"{name}, row {number}", dict(values)) for number, values in enumerate(rows, start=1)]


@contextmanager
def _offline_where_unreachable() -> Iterator[bool]:
    """Offline mode where the hub does not answer, which its client would ask again and again for half a minute."""
    import datasets
    from huggingface_hub import constants

    is_unreachable = constants.is_offline_mode() or not _answers(constants.ENDPOINT)
    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    if is_unreachable:
        for place in places:
            place.HF_HUB_OFFLINE = True
    try:
        yield is_unreachable
    finally:
        for place, was in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = was


def _answers(endpoint: str) -> bool:
    from huggingface_hub import get_session
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # its transport's, whichever it has

    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except (OSError, HTTPError):
        return False
    return True
