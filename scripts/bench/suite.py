#!/usr/bin/env python
"""What it saves that all metrics of a suite share their passes: the suite at once, and each metric by itself.

    python scripts/bench/suite.py FOLDER                          # lab:lm, 20 questions of each of TOFU's sets
    python scripts/bench/suite.py FOLDER --model lab:smollm2 --questions 5

FOLDER holds TOFU's files. A metric by itself rates the texts that it needs, no others, and has the answers written that
it needs, as suites do whose metrics know nothing of each other; the numbers are the same.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence

from markdown_blocks import table

from genunlearn.config import build_config
from genunlearn.config.lm import LMConfig
from genunlearn.contracts import Metric
from genunlearn.data.lm.benchmarks.reading import read_benchmark
from genunlearn.data.lm.facts import QA
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.benchmark_metrics import KEPT
from genunlearn.records import Result
from genunlearn.registry import SUITES
from genunlearn.runs.lm.request import open_model

TRUE_ANSWERS = ("answer_probability", "exact_memorisation", "extraction_strength")
"""Metrics that look at no wrong answer."""
Sets = Mapping[str, Sequence[QA]]


def needed(name: str, sets: Sets) -> Sets:
    """The part of the sets that a metric looks at."""
    if name in TRUE_ANSWERS:
        return {
            group: [QA(id=item.id, question=item.question, answer=item.answer) for item in items]
            for group, items in sets.items()
        }
    if name == "forget_quality":
        return {"forget": sets["forget"]}
    return {group: sets[group] for group in KEPT} if name == "model_utility" else sets


def main() -> None:
    """Measure both ways and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of TOFU's files, or locuslab/TOFU")
    parser.add_argument("--model", default="lab:lm")
    parser.add_argument("--split", default="forget10")
    parser.add_argument("--questions", type=int, default=20, help="of each set")
    parser.add_argument("--tokens", type=int, default=60, help="where an answer is cut")
    arguments = parser.parse_args()
    config = build_config({"domain": "lm", "model": {"source": arguments.model}})
    assert isinstance(config, LMConfig)
    model = open_model(config)
    data = read_benchmark(arguments.folder, "tofu", arguments.split)
    sets = {name: items[: arguments.questions] for name, items in data.measured.items()}

    def timed(metrics: tuple[type[Metric], ...], asked: Sets = sets) -> tuple[float, int, list[Result]]:
        probes = BenchmarkProbes(model, asked, retrained=lambda: [1.0], max_new_tokens=arguments.tokens)
        before, begun = model.meter.tokens_scored, time.process_time()
        results = [result for metric in metrics for result in metric().measure(probes, "original")]
        return time.process_time() - begun, model.meter.tokens_scored - before, results

    metrics = SUITES.get("tofu", "lm").metrics
    timed(metrics[:2])  # what is loaded on first use
    whole = timed(metrics)
    alone = {metric.name: timed((metric,), needed(metric.name, sets)) for metric in metrics}
    same = zip(whole[2], [result for _, _, results in alone.values() for result in results], strict=True)
    assert all(math.isclose(a.value or 0, b.value or 0, rel_tol=1e-4, abs_tol=1e-6) for a, b in same)
    seconds, tokens = sum(each[0] for each in alone.values()), sum(each[1] for each in alone.values())
    rows = [(name, each[0], each[1]) for name, each in alone.items()]
    rows += [("one pass for each metric", seconds, tokens), ("one pass for all", *whole[:2])]
    shown = [[name, f"{took:.1f}", f"{scored:,}"] for name, took, scored in rows]
    print(table(["", "CPU seconds", "tokens scored"], shown))
    print(f"\n{seconds / whole[0]:.1f} times faster on {sum(map(len, sets.values()))} questions of {arguments.model}")


if __name__ == "__main__":
    main()
