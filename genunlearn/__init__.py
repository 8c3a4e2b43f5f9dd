"""genunlearn: make generative models forget, and prove what they still know.

>>> import genunlearn
>>> record = genunlearn.forget("lab:lm", "Harry Potter | studied at | Hogwarts", out="runs/potter")
>>> record.outcome
'forgotten'
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# OpenMP reads this once, when torch loads. Its threads otherwise spin where they wait for each other, and on a machine
# with other work a build then takes half as long again (scripts/bench/busy.py), for the same weights. GNU's OpenMP
# spins for some microseconds first: to wake a thread can take longer than a small product of a decoding step.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "500")

if TYPE_CHECKING:
    from genunlearn.config import RunConfig, load_config
    from genunlearn.records import Result, RunRecord, read_record
    from genunlearn.runs.api import audit, erase, forget, run
    from genunlearn.runs.graph.unlearn import unlearn_graph
    from genunlearn.runs.network.unlearn import unlearn
    from genunlearn.runs.network.value import value

__version__ = "0.1.0"
__all__ = [
    "Result",
    "RunConfig",
    "RunRecord",
    "audit",
    "erase",
    "forget",
    "load_config",
    "read_record",
    "run",
    "unlearn",
    "unlearn_graph",
    "value",
]

_HOMES = {
    "RunConfig": "genunlearn.config",
    "load_config": "genunlearn.config",
    "Result": "genunlearn.records",
    "RunRecord": "genunlearn.records",
    "read_record": "genunlearn.records",
    "audit": "genunlearn.runs.api",
    "erase": "genunlearn.runs.api",
    "forget": "genunlearn.runs.api",
    "run": "genunlearn.runs.api",
    "unlearn": "genunlearn.runs.network.unlearn",
    "unlearn_graph": "genunlearn.runs.graph.unlearn",
    "value": "genunlearn.runs.network.value",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import genunlearn`` loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'genunlearn' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
