#!/usr/bin/env python
"""Valuation methods side by side on two data sets that scikit-learn brings: what values find, and what they cost.

    python scripts/bench/valuation.py                                      # prints the tables
    python scripts/bench/valuation.py --markdown docs/results/valuation.md

Four benchmarks, as in OpenDataVal: mislabelled items found, corrupted inputs found, items removed by value, items added
by value. All methods of a seed see the same items, the same learner and the same score; trainings are counted for each.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genunlearn.engine.journal import FileJournal
from genunlearn.ops.intervals import over_seeds
from genunlearn.records import write_text
from genunlearn.registry import VALUATIONS
from genunlearn.reports.markdown import table_of
from genunlearn.reports.numbers import format_number
from genunlearn.valuation.benchmark import corrupt_inputs, curve, f1, flip_labels, lower_cluster, lowest
from genunlearn.valuation.estimators import EstimatorLearner, estimator
from genunlearn.valuation.game import Game

SETS = {"digits": "load_digits", "breast cancer": "load_breast_cancer"}
WITH_NOISE = {"breast cancer"}
"""Sets whose inputs are corrupted too, which doubles the trainings."""
ITEMS, JUDGED = 100, 150
DRAWS = {"banzhaf": {"draws": 200}, "data_oob": {"bags": 50}}
BAD_SHARE = 0.2
FIRST_SEED = 10
"""EcoVal-style was made on earlier seeds, which say nothing of how good it is."""
SHARES = np.array([0.1, 0.2, 0.3, 0.4])
COLUMNS = {
    "noisy": "Noisy labels, F1",
    "noisy_2means": "The same, their number unknown",
    "corrupt": "Corrupted inputs, F1",
    "remove_high": "Removal, highest first",
    "remove_low": "Removal, lowest first",
    "add_high": "Addition, highest first",
    "add_low": "Addition, lowest first",
    "trainings": "Trainings",
}
REFERENCE, OURS = "tmc_shapley", "ecoval_style"
Found = dict[str, dict[str, list[float]]]

INTRODUCTION = """# Valuation methods: what their values find, and what they cost

    python scripts/bench/valuation.py --markdown docs/results/valuation.md

writes this page anew. Here it took {minutes:.1f} minutes in one thread, on a machine that was busy with other work.

{items} training and {judged} validation items of each set, a linear classifier on standardised inputs, scored by the
mean probability of the right class; curves are on all items of the set that are left over. A fifth of the items,
n={bad}, has another label, or noise for inputs. Each cell is the mean over {seeds} seeds with its 95% t-interval; seeds
draw the items and what is bad about them. The formula of EcoVal-style was chosen on other seeds of the same sets.

*F1* takes the {bad} lowest values for the bad ones; *number unknown* takes the lower of two clusters of values.
*Removal* and *addition* are the mean score after a tenth to four tenths of the items, mislabelled ones among them, went
or came: of removal, low is good for the highest first, and high for the lowest first; of addition the other way round.
*Trainings* are those that the values for noisy labels took. TMC-Shapley and Beta-Shapley have {orders} orders, Banzhaf
200 coalitions and Data-OOB 50 bags, far fewer than papers use: more would find more, and cost more. Inputs are
corrupted on breast cancer alone, since that doubles the trainings.
"""


def measure(name: str, seed: int, methods: Sequence[str], orders: int) -> dict[str, dict[str, float]]:
    """Every method on one draw of one set, by method and column."""
    from sklearn import datasets

    bundled = getattr(datasets, SETS[name])()
    order = np.random.default_rng(seed).permutation(len(bundled.target))
    train, valid, test = np.split(order, [ITEMS, ITEMS + JUDGED])
    inputs, targets = bundled.data[train], bundled.target[train]
    flipped, is_flipped = flip_labels(targets, BAD_SHARE, seed)
    noise, is_noise = corrupt_inputs(inputs, BAD_SHARE, seed)
    beside = [(bundled.data[rows], bundled.target[rows]) for rows in (valid, test)]
    journals = [FileJournal(None) for _ in range(3)]  # methods that ask for the same training share it
    found: dict[str, dict[str, float]] = {}
    for method in methods:
        own: dict[str, Any] = {"orders": orders} if method in (REFERENCE, "beta_shapley") else DRAWS.get(method, {})
        valuer = VALUATIONS.get(method, "network")(**own)
        game = _game((inputs, flipped), beside[0], journals[0])
        values = valuer.value(game).values
        judge = _game((inputs, flipped), beside[1], journals[2])
        found[method] = {
            "noisy": f1(lowest(values, int(is_flipped.sum())), is_flipped),
            "noisy_2means": f1(lower_cluster(values), is_flipped),
            "remove_high": float(curve(judge, values, SHARES, "high_first").mean()),
            "remove_low": float(curve(judge, values, SHARES, "low_first").mean()),
            "add_high": float(curve(judge, values, SHARES, "high_first", adds=True).mean()),
            "add_low": float(curve(judge, values, SHARES, "low_first", adds=True).mean()),
            "trainings": float(game.trainings),
        }
        if name in WITH_NOISE:
            of_noise = valuer.value(_game((noise, targets), beside[0], journals[1])).values
            found[method]["corrupt"] = f1(lowest(of_noise, int(is_noise.sum())), is_noise)
        print(f"{name}, seed {seed}, {method}: {found[method]}", flush=True)
    return found


def _game(train: tuple[Any, Any], valid: tuple[Any, Any], journal: FileJournal) -> Game:
    learner = EstimatorLearner(estimator("linear", is_regression=False), train, valid)
    return Game(learner, journal, score="probability")


def table(found: Found) -> str:
    """One set: methods in rows."""
    names = [name for name in COLUMNS if all(name in columns for columns in found.values())]
    rows = [
        [method, *(_cell(columns[name], is_count=name == "trainings") for name in names)]
        for method, columns in found.items()
    ]
    return table_of(["Method", *(COLUMNS[name] for name in names)], rows)


def _cell(values: Sequence[float], *, is_count: bool) -> str:
    value, low, high = over_seeds(values)
    if is_count:
        return f"{value:,.0f}"
    if low is None or high is None:
        return format_number(value)
    interval = f" [{format_number(max(low, 0.0))}, {format_number(min(high, 1.0))}]"  # all others are shares
    return f"{format_number(value)}{interval}"


def verdict(name: str, found: Found) -> str:
    """Whether EcoVal-style is within 0.02 of TMC-Shapley at no more than a tenth of its trainings."""
    ours, reference = found[OURS], found[REFERENCE]
    gaps = [a - b for a, b in zip(ours["noisy"], reference["noisy"], strict=True)]
    value, low, high = over_seeds(gaps)
    share = sum(ours["trainings"]) / sum(reference["trainings"])
    holds = value >= -0.02 and share <= 0.1
    ends = f" [{low:+.2f}, {high:+.2f}]" if low is not None and high is not None else ""
    return (
        f"On {name} the F1 of EcoVal-style is {value:+.2f}{ends} from that of TMC-Shapley, at {share:.1%} of its "
        f"trainings: the target, no more than 0.02 below at no more than a tenth, is {'met' if holds else 'missed'}."
    )


def main() -> None:
    """Measure every method on every set and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--orders", type=int, default=10, help="of TMC-Shapley and Beta-Shapley")
    parser.add_argument("--methods", nargs="*", default=list(VALUATIONS.names("network")))
    given = parser.parse_args()
    start, parts = time.monotonic(), []
    for name in SETS:
        found: Found = defaultdict(lambda: defaultdict(list))
        for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
            for method, columns in measure(name, seed, given.methods, given.orders).items():
                for column, value in columns.items():
                    found[method][column].append(value)
        said = verdict(name, found) if {OURS, REFERENCE} <= found.keys() else ""
        parts += [f"## {name.capitalize()}", said, table(found)]
    head = INTRODUCTION.format(
        minutes=(time.monotonic() - start) / 60,
        items=ITEMS,
        judged=JUDGED,
        bad=round(BAD_SHARE * ITEMS),
        seeds=given.seeds,
        orders=given.orders,
    )
    page = "\n\n".join(part for part in [head.rstrip(), *parts] if part) + "\n"
    if given.markdown is not None:
        write_text(given.markdown, page)
    else:
        print(page)


if __name__ == "__main__":
    main()
