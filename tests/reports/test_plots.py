"""Plots: the data arrives where it belongs, and the SVG fits into a page."""

from __future__ import annotations

import re

from genunlearn.reports.lm.figures import known_share, rounds_plot
from genunlearn.reports.plots import Mark, Point, curve_plot, inline_svg, scatter_plot

MARK = Mark("mine", 1, "o")


def test_an_svg_loses_what_would_leak_into_the_page() -> None:
    svg = (
        '<?xml version="1.0"?>\n<!DOCTYPE svg>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2" width="4pt">\n'
        "<metadata>\nhttp://x</metadata><style>*{color: red}</style>"
        '<g id="a" clip-path="url(#b)"><use xlink:href="#a" style="fill: #010101"/>'
        "<text style=\"font-size: 10px; font-family: 'DejaVu Sans'; text-anchor: end\">t</text></g></svg>"
    )
    assert inline_svg(svg, "p", 'say "hi"') == (
        '<svg viewBox="0 0 4 2" role="img" aria-label="say &#34;hi&#34;">'
        ' <g id="p-a" clip-path="url(#p-b)"><use href="#p-a" style="fill: var(--ink)"/>'
        '<text style="font-size: 10px; text-anchor: end">t</text></g></svg>'
    )


def test_labels_are_text_that_can_be_selected() -> None:
    plot = curve_plot("c", "alt", [(MARK, [(1, Point(0.5)), (2, Point(0.25))])], xlabel="psi", ylabel="<share>")
    for svg in (plot.wide, plot.narrow):
        assert ">psi</text>" in svg and ">&lt;share&gt;</text>" in svg and ">mine</text>" in svg


def test_dollar_signs_are_no_mathematics() -> None:
    plot = curve_plot("c", "alt", [(Mark("$x$", 1, "o"), [(1, Point(0.5))])], xlabel="x", ylabel="y")
    assert ">$x$</text>" in plot.wide


def test_points_that_were_not_measured_are_left_out() -> None:
    seen, unseen = (Point(0.5, 0.4, 0.6), Point(0.9, 0.8, 1.0)), (Point(None), Point(0.9))
    both = scatter_plot("s", "alt", [(MARK, *seen), (MARK, *unseen)], xlabel="x", ylabel="y").wide
    one = scatter_plot("s", "alt", [(MARK, *seen), (MARK, *seen)], xlabel="x", ylabel="y").wide
    assert one.count("<use") - both.count("<use") == 1


def test_whiskers_never_point_backwards() -> None:
    assert Point(0.5, 0.5000001, 0.75).whiskers == [[0.0], [0.25]]
    assert Point(None).whiskers is None and Point(0.5).whiskers is None


def test_the_share_still_known_is_of_all_variants() -> None:
    assert known_share({"known": 3, "variants": 16}) == 0.1875
    assert known_share({"known": 0, "variants": 0}) is None
    assert known_share({"known": 3}) is None


def test_rounds_are_plotted_from_two_on() -> None:
    rounds = [{"round": 1, "known": 4, "variants": 4}, {"round": 2, "known": 1, "variants": 4}]
    assert rounds_plot(rounds[:1]) is None
    plot = rounds_plot(rounds)
    assert plot is not None and "round 1: 1.00, round 2: 0.25" in plot.alt
    assert "neighbour recall" not in plot.wide
    ticks = re.findall(r">([\d.]+)</text>", plot.wide)
    assert ticks.count("1.5") == 0


def test_every_point_of_a_curve_has_its_mark_and_its_own_whisker() -> None:
    def drawn(*points: Point) -> str:
        return curve_plot("c", "alt", [(MARK, list(enumerate(points)))], xlabel="x", ylabel="y").wide

    sure, wide, narrow = Point(0.5), Point(0.5, 0.25, 1.0), Point(0.5, 0.5, 0.75)
    svg = drawn(sure, wide, narrow)
    assert svg.count("<use") - drawn(wide, narrow).count("<use") == 1
    (spans,) = re.findall(r'LineCollection_1">(.*?)</g>', svg)
    none, long, short = [float(a) - float(b) for a, b in re.findall(r"M [\d.]+ ([\d.]+) L [\d.]+ ([\d.]+)", spans)]
    assert none == 0 and round(long / short, 3) == 3
