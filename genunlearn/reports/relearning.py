"""The relearning curve: how well models know the forget set after so many updates on it."""

from __future__ import annotations

from collections.abc import Mapping

from genunlearn.records import RunRecord
from genunlearn.reports.marks import MODELS, model_marks, point, spoken_value
from genunlearn.reports.plots import Plot, curve_plot


def relearning_plot(record: RunRecord, ylabels: Mapping[str, str]) -> Plot | None:
    """How well the forget set is known after so many updates, one line a model; None where it was not tried.

    Args:
        record: The run, with results ``relearning_KIND`` whose group is ``step N``.
        ylabels: What a kind of result is called.
    """
    curves, top, kind = [], 1.0, ""
    targets = [t for t in MODELS if any(_steps(r.name, r.group) is not None and r.target == t for r in record.results)]
    for mark, target in zip(model_marks(targets), targets, strict=True):
        pairs = []
        for result in record.results:
            step = _steps(result.name, result.group)
            if result.target != target or step is None or result.value is None:
                continue
            kind = result.name.removeprefix("relearning_")
            top = max(top, result.high or result.value) if kind == "loss" else top
            pairs.append((float(step), point(result)))
        if pairs:
            curves.append((mark, sorted(pairs, key=lambda pair: pair[0])))
    if not curves:
        return None
    ylabel = ylabels.get(kind, kind)
    said = "; ".join(f"{m.label}: " + ", ".join(f"{x:.0f}: {spoken_value(p)}" for x, p in pairs) for m, pairs in curves)
    alt = f"{ylabel} by updates of relearning. {said}."
    return curve_plot("relearning", alt, curves, xlabel="Updates on the forget set", ylabel=ylabel, ends=(0.0, top))


def _steps(name: str, group: str | None) -> int | None:
    """After how many updates a relearning result was measured; None for every other result."""
    if not name.startswith("relearning_") or not (group or "").startswith("step "):
        return None
    number = (group or "").removeprefix("step ")
    return int(number) if number.isdigit() else None
