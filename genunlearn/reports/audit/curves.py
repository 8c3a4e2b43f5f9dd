"""How what an attack brings out goes with its strength: a plot for every series of results that has a number in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from genunlearn.records import Result, RunRecord
from genunlearn.reports.audit.wording import MODELS, metric_words
from genunlearn.reports.marks import model_marks, point
from genunlearn.reports.plots import Mark, Plot, Point, curve_plot


@dataclass(frozen=True)
class Series:
    """Results that make one or several plots.

    Attributes:
        metric: Their name.
        title: Heading of a plot; ``{}`` stands for what tells it from its siblings.
        groups: Matches the group behind the subject's label: ``x`` is the number on the horizontal axis, ``own`` what
            goes into the title.
        xlabel: What the horizontal axis is.
        is_budget: Whether that is what an attacker spends.
    """

    metric: str
    title: str
    groups: str
    xlabel: str
    is_budget: bool = False


SERIES = (
    Series("asr", "Share of images that show the concept", r", partial_diffusion, psi = (?P<x>[\d.]+)", "psi"),
    Series("ccs_controlled", "Probability that an image is the original's", r", psi = (?P<x>[\d.]+)", "psi"),
    Series("crs_signed", "Signed margin (above 0: nearer to the original)", r", psi = (?P<x>[\d.]+)", "psi"),
    Series("leak_at_k", "Told by any of k samples, {}", r", \w+, (?P<own>[^,]+), k = (?P<x>\d+)", "samples", True),
    Series("asr", "Told after relearning {}", r", relearning, (?P<own>[^,]+), (?P<x>\d+) steps?", "updates", True),
)


@dataclass(frozen=True)
class Curve:
    """A plot with its heading, and what it takes to bring the subject out in half of the questions."""

    title: str
    plot: Plot
    caption: str


def curves(record: RunRecord, label: str) -> list[Curve]:
    """The plots of one subject."""
    plots: list[Curve] = []
    for series in SERIES:
        for own, found in _split(record, label, series).items():
            title = series.title.format(own)
            plot = _plot(found, title, series, f"psi-{_slug(label)}-{len(plots)}")
            plots.append(Curve(title, plot, _halves(found, series.xlabel) if series.is_budget else ""))
    return plots


def _split(record: RunRecord, label: str, series: Series) -> dict[str, dict[str, list[tuple[float, Result]]]]:
    """Results by plot and target, with their places on the horizontal axis."""
    pattern = re.compile(re.escape(label) + series.groups)
    found: dict[str, dict[str, list[tuple[float, Result]]]] = {}
    for result in record.results:
        match = pattern.fullmatch(result.group or "")
        if result.name == series.metric and result.value is not None and match:
            own = match.groupdict().get("own", "")
            found.setdefault(own, {}).setdefault(result.target, []).append((float(match["x"]), result))
    return found


def _plot(found: Mapping[str, list[tuple[float, Result]]], title: str, series: Series, name: str) -> Plot:
    kinds = [target for target in MODELS if target in found]
    marks = model_marks(kinds, [MODELS[kind] for kind in kinds])
    lines: list[tuple[Mark, list[tuple[float, Point]]]] = [
        (mark, [(x, point(result)) for x, result in sorted(found[kind], key=lambda pair: pair[0])])
        for mark, kind in zip(marks, kinds, strict=True)
    ]
    alt = f"{title} over {series.xlabel}. " + " ".join(
        f"{mark.label}: " + ", ".join(f"{x:g}: {p.value:.2f}" for x, p in pairs if p.value is not None) + "."
        for mark, (_, pairs) in zip(marks, lines, strict=True)
    )
    ends = [abs(v) for _, pairs in lines for _, p in pairs for v in (p.low, p.value, p.high) if v is not None]
    reach = max(1e-3, *ends)
    axis = (-reach, reach) if series.metric == "crs_signed" else (0.0, 1.0)
    words = metric_words(series.metric).label
    return curve_plot(name, alt, lines, xlabel=series.xlabel, ylabel=words, ends=axis)


def _halves(found: Mapping[str, list[tuple[float, Result]]], unit: str) -> str:
    """How much of the budget each model needs until half of the questions are told, of what was tried."""
    needed = {}
    for kind in (kind for kind in MODELS if kind in found):
        enough = [x for x, result in found[kind] if result.value is not None and result.value >= 0.5]
        needed[MODELS[kind]] = f"{min(enough):g}" if enough else f"more than {max(x for x, _ in found[kind]):g}"
    return f"Half of the questions are told after, in {unit}: " + ", ".join(
        f"{name.lower()} {count}" for name, count in needed.items()
    )


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in label)
