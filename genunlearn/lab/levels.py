"""The levels that a lab's model must reach, without which it is not handed out."""

from __future__ import annotations

from collections.abc import Mapping

from genunlearn.errors import QualityError


def check_levels(measured: Mapping[str, Mapping[str, float]], levels: Mapping[str, float], model: str) -> None:
    """Refuse a model that misses one of its levels.

    Args:
        measured: Estimates by name, each with its ``value``.
        levels: Least values by name; each of them has been measured.
        model: What the message calls the model.

    Raises:
        QualityError: Names every level that is missed.
    """
    missed = [
        f"{name} = {measured[name]['value']:.3f} (at least {least})"
        for name, least in levels.items()
        if measured[name]["value"] < least
    ]
    if missed:
        raise QualityError(f"{model} misses its level: {', '.join(missed)}; build with another seed")
