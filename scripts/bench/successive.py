#!/usr/bin/env python
"""Requests that follow each other on lab:lm: what is told of each, of all earlier ones, and of what must stay.

    python scripts/bench/successive.py                               # 30 facts drawn, one request each
    python scripts/bench/successive.py --write docs/requests.md      # and put the table there

Each request is `forget --on` the run before, so that its patch holds all of them; afterwards the facts of the earlier
ones are asked again in phrasings that unlearning never saw. Beside it, one patch is trained anew for all of them.
Finished runs are kept in --out and not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audit_facts import drawn
from markdown_blocks import replace_block, table

from genunlearn.contracts import UNLEARNED
from genunlearn.data.lm.facts import EARLIER, KEEP_GROUPS, TRAINED_GROUPS
from genunlearn.lab.lm.world import load_world
from genunlearn.ops.intervals import share
from genunlearn.records import COMPLETED, RECORD_NAME, Result, RunRecord, read_record
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.runs.api import forget_config, run

SHOWN = (1, 2, 5, 10, 15, 20, 25, 30)
"""Requests after which the table has a row."""
SETTINGS = (
    "evaluate.suite=facts-quick", "evaluate.samples=0", "evaluate.oracle=never", "request.force=true",
)  # fmt: skip


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=30, help="how many requests")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--method", default="npo", help="name of the method")
    parser.add_argument("--rank", type=int, default=4, help="rank that each request adds to the patch")
    parser.add_argument("--out", type=Path, default=Path("runs/requests"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'requests' is replaced")
    arguments = parser.parse_args()
    settings = (*SETTINGS, f"parameters.rank={arguments.rank}", f"parameters.alpha={2 * arguments.rank}")
    facts = drawn(load_world(), arguments.count, arguments.seed, least=1)
    done: list[RunRecord] = []
    for number, fact in enumerate(facts, start=1):
        after = [f"on={arguments.out / f'{number - 1:02}'}"] if number > 1 else []
        done.append(carried_out([fact], arguments.method, [*settings, *after], arguments.out / f"{number:02}"))
    anew = carried_out(facts, arguments.method, settings, arguments.out / "anew")
    text = lines(done, anew, arguments.method)
    print(text)
    if arguments.write:
        replace_block(arguments.write, "requests", text)


def carried_out(facts: Sequence[str], method: str, settings: Sequence[str], out: Path) -> RunRecord:
    """The record of one run, done now if it is not there."""
    if (out / RECORD_NAME).is_file() and (record := read_record(out)).status == COMPLETED:
        return record
    config = forget_config("lab:lm", {"facts": tuple(facts)}, method=method, overrides=settings)
    return run(config, out=out, resume=(out / RECORD_NAME).is_file())


def lines(done: Sequence[RunRecord], anew: RunRecord, method: str) -> str:
    """The table, with what its columns are."""
    head = [
        "after request",
        "told of all new facts, then",
        "told of the earlier ones, now",
        "what must stay",
        "CPU time",
    ]
    rows = []
    for number in (n for n in SHOWN if n <= len(done)):
        record = done[number - 1]
        earlier = record.find("recall", UNLEARNED, EARLIER)
        new = pooled([result for each in done[:number] for result in results(each, ("forget_heldout",))])
        rows.append([str(number), new, format_estimate(earlier) if earlier else "", kept(record), seconds(record)])
    new = pooled(results(anew, ("forget_heldout",)))
    rows.append([f"one patch for all {len(done)}", new, "", kept(anew), seconds(anew)])
    total = sum(record.cost["unlearning_cpu_seconds"] for record in done)
    return (
        f"{table(head, rows)}\n\n`{method}`, {len(done)} facts drawn by seed; recall of greedy answers, 95% intervals "
        f"over questions. Unlearning them one after the other took {format_number(total)} CPU seconds."
    )


def results(record: RunRecord, groups: Sequence[str]) -> list[Result]:
    """Recall of the unlearned model on some groups."""
    found = (record.find("recall", UNLEARNED, group) for group in groups)
    return [result for result in found if result and result.value is not None]


def kept(record: RunRecord) -> str:
    """Recall of everything that must stay, together."""
    return pooled(results(record, [group for group in KEEP_GROUPS if group not in TRAINED_GROUPS]))


def pooled(found: Sequence[Result]) -> str:
    """One share over all questions."""
    hits, n = sum(round((result.value or 0.0) * result.n) for result in found), sum(result.n for result in found)
    value, low, high = share(hits, n)
    return format_estimate(Result(name="recall", target=UNLEARNED, value=value, low=low, high=high, n=n))


def seconds(record: RunRecord) -> str:
    """CPU seconds of unlearning."""
    return f"{record.cost['unlearning_cpu_seconds']:.1f} s"


if __name__ == "__main__":
    main()
