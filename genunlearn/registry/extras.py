"""Packages that only some parts need: which extra brings each, and the one line that says so where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from genunlearn.errors import NeedNotMet

EXTRAS = {
    "bitsandbytes": "quant",
    "deepspeed": "deepspeed",
    "diffusers": "diffusion",
    "flwr": "federated",
    "ray": "federated",
    "lm_eval": "harness",
    "nltk": "benchmarks",
    "sdmetrics": "tables",
    "torch_geometric": "graph",
}
"""Extra of this package by the package that it brings."""


def require(package: str, what: str) -> None:
    """Refuse `what` where a package of `EXTRAS` is not installed, before any work.

    Raises:
        NeedNotMet: It is not installed.
    """
    try:
        is_there = find_spec(package) is not None
    except ValueError:  # marked as missing in sys.modules
        is_there = False
    if not is_there:
        raise NeedNotMet(f"{what} needs the package {package!r}, which is not installed: {remedy(package)}")


def remedy(package: str) -> str:
    """The command that installs a package of `EXTRAS`."""
    return f"pip install 'genunlearn[{EXTRAS[package]}]'"


def explain(error: ModuleNotFoundError) -> NeedNotMet | None:
    """The same line for an import that has failed; None where no extra brings what is missing."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return NeedNotMet(f"this needs the package {package!r}, which is not installed: {remedy(package)}")
