"""How long a fuzz test searches: a few examples, the same ones every time, or as long as the environment says.

GENUNLEARN_FUZZ_SECONDS=200 scripts/test tests/fuzz/test_records.py     # each of its tests for 200 seconds
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

SECONDS = float(os.environ.get("GENUNLEARN_FUZZ_SECONDS", "0"))
AT_ONCE = 200
"""Examples between two looks at the clock; each such search begins anew, with a seed of its own."""


def tries(few: int) -> Callable[[Any], Any]:
    """Decorator above ``@given``: `few` examples, or one search after another until the time is up."""
    searched = settings(
        max_examples=max(few, AT_ONCE) if SECONDS else few,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test: Any) -> Any:
        search = searched(test)
        if not SECONDS:
            return search

        @functools.wraps(search)
        def for_a_while(*args: Any, **kwargs: Any) -> None:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                search(*args, **kwargs)

        return for_a_while

    return decorate
