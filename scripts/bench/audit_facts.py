#!/usr/bin/env python
"""Gone, or only hidden: unlearning methods on facts of lab:lm under attack, beside the original, an oracle and decoys.

    python scripts/bench/audit_facts.py                            # five facts drawn, and an oracle trained for them
    python scripts/bench/audit_facts.py --write docs/audits.md     # and put the tables there
    python scripts/bench/audit_facts.py --facts carmen.created-by --methods grad_diff --decoys 0
    python scripts/bench/audit_facts.py --count 10 --methods all --suite full      # everything: many hours of one core
    python scripts/bench/audit_facts.py --methods unstar,variants --block hold      # what makes UnSTAR hold
    python scripts/bench/audit_facts.py --original lab:smollm2 --methods npo --count 10      # a model from elsewhere

Facts are drawn by seed from those whose answer no other fact of the relation has, since what several share is inferred,
and of whose answer's kind there are enough to rank it among. One oracle is trained without all of them; a fact that it
tells all the same is left out. Of a model that was trained elsewhere there is none: decoys are the control. Every
method forgets one fact at a time; the methods `identity` and `oracle` stand for the original and the oracle in its
place. Shares are means over facts with 95% bootstrap intervals over facts: phrasings of a fact are not independent. Of
a single fact they are counts of phrasings.
Finished runs and audits are kept in --out and not done again.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_blocks import replace_block, table

from genunlearn.attacks.lm.ranking import LEAST
from genunlearn.contracts import DECOYS, ORACLE, ORIGINAL, UNLEARNED
from genunlearn.errors import DataError, InputError
from genunlearn.evaluation.verdicts import (
    CONCEALED,
    DAMAGED,
    GONE,
    PLAIN,
    PRESENT,
    UNDECIDED,
    Comparison,
    Rules,
    judge,
)
from genunlearn.lab.lm.build import build
from genunlearn.lab.lm.world import World
from genunlearn.lab.lm.world_facts import world_of
from genunlearn.ops.intervals import mean
from genunlearn.ops.verdicts import Share
from genunlearn.records import COMPLETED, RECORD_NAME, RunRecord, read_record
from genunlearn.registry import LAB
from genunlearn.runs.api import audit_config, forget_config, run
from genunlearn.runs.lm.audit import LMAudit
from genunlearn.shipped import shipped

LAB_MODEL = f"{LAB}lm"
METHODS = ("unstar", "npo", "grad_diff")
IDENTITY = "identity"
"""The original in the place of a method's result; the oracle goes by its own name."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "unstar-phrasings": ("method.variants=48", "method.harder_variants=16"),
    "unstar-rank": ("parameters.rank=64", "parameters.alpha=128"),
    "unstar-further": ("method.further_rounds=4",),
    "unstar-smooth": ("method.rho=0.1",),
    "unstar-relearnt": ("method.rho=0.1", "method.nearby=relearnt"),
}
"""What might make UnSTAR hold: the same method with other settings, under names of their own."""
PANEL = (
    "attacks={sampling: {samples: 20, temperatures: [1.0]}, prefix_forcing: {}, completion: {}, multiple_choice: "
    "{orders: 2}, quantised_reload: {forms: [nf4]}, exposure: {}, relearning: {learning_rate: 1e-3, "
    "lessons: [phrasings, same_relation], marks: [3, 5, 10]}}"
)
"""The attacks, with their budgets where the quick suite's are others."""
LARGE = (
    "attacks={prefix_forcing: {openings: [The answer is]}, exposure: {subjects: 4, phrasings: 2}, "
    "sampling: {samples: 4, temperatures: [1.0]}, relearning: {lessons: [same_relation], marks: [10]}}"
)
"""The least panel alone, at small budgets: a question costs far more than on lab:lm."""

OPEN = "open"
"""Of an audit that ended early: nothing is known of what would have followed."""

MOST_LINES = 40
"""Lines of verdicts on single facts; of more, each method has one line."""

Records = Mapping[tuple[str, str], RunRecord]


def main() -> None:
    """Carry out what is missing, print the tables, write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", default=LAB_MODEL, help="lab:lm, or lab:smollm2, of which there is no oracle")
    parser.add_argument("--facts", default="", help="comma-separated ids; by default --count are drawn")
    parser.add_argument("--count", type=int, default=5, help="how many facts are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated; all, variants")
    parser.add_argument("--suite", default="quick", help="of the audits; quick is cut down to a panel above")
    parser.add_argument("--without", default="", help="comma-separated ids of further facts that the oracle never saw")
    parser.add_argument("--decoys", type=int, default=2, help="decoys of each fact; 0 for none")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="section.key=value, of audits")
    parser.add_argument("--block", default="facts", help="of the document that is written")
    parser.add_argument("--out", type=Path, default=Path("runs/audit-facts"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    world = world_of(arguments.original.removeprefix(LAB))
    facts = arguments.facts.split(",") if arguments.facts else drawn(world, arguments.count, arguments.seed)
    panel = [PANEL if arguments.original == LAB_MODEL else LARGE] if arguments.suite == "quick" else []
    overrides = [*panel, f"evaluate.decoys={arguments.decoys}", *arguments.overrides]
    groups = {"all": (*in_lab(), IDENTITY, ORACLE), "variants": tuple(VARIANTS)}
    methods = [name for part in arguments.methods.split(",") for name in groups.get(part, (part,))]
    oracle = "never"
    if arguments.original == LAB_MODEL:
        oracle = str(build(without=[*facts, *filter(None, arguments.without.split(","))]))
    records: dict[tuple[str, str], RunRecord] = {}
    refused: list[str] = []
    for fact in facts:
        for method in methods:
            try:
                place = unlearned_by(method, fact, oracle, arguments)
                records[fact, method] = one_audit(place, fact, method, oracle, arguments, overrides)
            except DataError as error:
                print(error)
                refused.append(fact)
                break
            except InputError as error:  # the method cannot forget this fact
                print(f"{fact}, {method}: {error}")
                continue
            print(f"{fact}, {method}: {records[fact, method].outcome}", flush=True)
    is_long = len(methods) * len(facts) > MOST_LINES
    tables = [by_method(records)] if is_long else [verdicts(records), shares(records)]
    text = "\n\n".join([*tables, said(records, refused)])
    print(text)
    if arguments.write:
        replace_block(arguments.write, arguments.block, text)


def drawn(world: World, count: int, seed: int, least: int = LEAST) -> list[str]:
    """Facts whose object no other fact of the relation has, and of whose object's type there are `least` to rank."""
    holders = Counter((triple.relation, triple.object) for triple in world.triples)
    kinds = Counter(entity.type for entity in world.entities.values())
    fitting = [
        triple.id
        for triple in world.triples
        if holders[triple.relation, triple.object] == 1 and kinds[world.entities[triple.object].type] >= least
    ]
    return random.Random(seed).sample(fitting, count)


def in_lab() -> list[str]:
    """Methods that have settings for the lab."""
    folder = shipped("configs") / "lm" / "lab"
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "default")


def unlearned_by(method: str, fact: str, oracle: str, arguments: argparse.Namespace) -> str:
    """What a method has left of the original; it is carried out now if it is not there yet."""
    if method in (IDENTITY, ORACLE):
        return str(arguments.original) if method == IDENTITY else oracle
    folder = arguments.out / fact / method
    if not is_done(folder):
        quiet = ["evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0"]
        quiet.append(f"controls={arguments.out / 'controls'}")
        overrides, name = [*quiet, *VARIANTS.get(method, ())], method.partition("-")[0]
        forgetting = forget_config(arguments.original, {"facts": (fact,)}, method=name, overrides=overrides)
        run(forgetting, out=folder, resume=folder.exists())
    return str(folder)


def one_audit(
    unlearned: str, fact: str, method: str, oracle: str, arguments: argparse.Namespace, overrides: Sequence[str]
) -> RunRecord:
    """The record of one audit, carried out now if it is not there yet."""
    audited = arguments.out / fact / f"{method}-audit"
    if is_done(audited):
        return read_record(audited)
    shared = [f"controls={arguments.out / 'controls'}", *(["request.force=true"] if method == IDENTITY else [])]
    config = audit_config(
        unlearned,
        {"facts": (fact,)},
        original=arguments.original,
        oracle=oracle,
        suite=arguments.suite,
        overrides=[*overrides, *shared],
    )
    return run(config, out=audited, resume=audited.exists())


def is_done(folder: Path) -> bool:
    """Whether a finished run lies there."""
    return (folder / RECORD_NAME).is_file() and read_record(folder).status == COMPLETED


# ---- the tables -------------------------------------------------------------------------------------------------


def comparisons(row: Mapping[str, Any], without: str = "") -> list[Comparison]:
    """What a verdict was reached from, one control left out."""
    return [
        Comparison(
            each["attack"],
            each["strength"],
            {name: Share(found["shown"], found["n"]) for name, found in each["shares"].items() if name != without},
            carries_in=each.get("carries_in", False),
        )
        for each in row["comparisons"]
    ]


def beside_decoys(record: RunRecord, row: Mapping[str, Any]) -> str:
    """The verdict `row` had there been no oracle; with one, an audit's own verdict is the one beside it.

    `OPEN` where the audit ended beside the oracle before decoys were asked as much as they would take.
    """
    if row["verdict"] == DAMAGED:
        return DAMAGED
    rules = Rules(tolerance=record.config["evaluate"]["tolerance"], panel=LMAudit.panel, counted=LMAudit.counted)
    found = judge(row["concept"], comparisons(row, without=ORACLE), rules).verdict
    is_cut = record.config["evaluate"].get("until") == "decided" and row["verdict"] in (PRESENT, CONCEALED)
    return OPEN if is_cut and found in (UNDECIDED, GONE) else found


def has(control: str, records: Records) -> bool:
    """Whether any fact stands beside a control."""
    return any(control in row.shares for record in records.values() for row in comparisons(record.verdicts[0]))


def verdicts(records: Records) -> str:
    """One line a fact and method: the verdict beside the oracle and beside decoys, and what recovers the fact."""
    oracle = has(ORACLE, records)
    header, rows = ["fact", "method", "beside the oracle" if oracle else "beside decoys", "recovered by"], []
    for (fact, method), record in records.items():
        (found,) = record.verdicts
        rows.append([fact, method, found["verdict"], "; ".join(found["recovered_by"]) or "nothing"])
    if oracle and has(DECOYS, records):
        header.append("beside decoys")
        rows = [
            [*row, beside_decoys(record, record.verdicts[0])]
            for row, record in zip(rows, records.values(), strict=True)
        ]
    return table(header, rows)


def by_method(records: Records) -> str:
    """One line a method: what plain prompts tell, on how many facts each verdict was reached, and what brought it out.

    Decoys have a line of their own: the share of them that plain prompts tell, over all methods.
    """
    oracle = has(ORACLE, records)
    header = ["method", "plain prompts", "beside the oracle" if oracle else "beside decoys"]
    header += ["beside decoys"] if oracle and has(DECOYS, records) else []
    rows = []
    for method in dict.fromkeys(name for _, name in records):
        own = [record for (_, name), record in records.items() if name == method]
        found = [record.verdicts[0] for record in own]
        rows.append([method, told_of(UNLEARNED, own), counted(row["verdict"] for row in found)])
        if len(header) > 3:
            rows[-1].append(counted(map(beside_decoys, own, found)))
        rows[-1].append(counted(by.partition(",")[0] for row in found for by in row["recovered_by"][:1]) or "nothing")
    if has(DECOYS, records):
        rows.append([DECOYS, told_of(DECOYS, list(records.values())), *[""] * (len(header) - 1)])
    return table([*header, "brought out first by (facts)"], rows)


def told_of(target: str, records: Sequence[RunRecord]) -> str:
    """The share of plain prompts that a target answers with the truth; nothing where it was never asked."""
    plain = [row.shares for record in records for row in comparisons(record.verdicts[0]) if row.attack == PLAIN]
    return estimate({str(n): shares[target] for n, shares in enumerate(plain) if target in shares})


def counted(names: Iterable[str]) -> str:
    """How often each comes, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def shares(records: Records) -> str:
    """Share told, one line an attack, models in columns: a mean over facts, or the count of the only one.

    An attack that was left out on some facts, whose verdict stood already, has no share: the others are a choice. One
    that no method has a share of has no line.
    """
    methods = list(dict.fromkeys(method for _, method in records))
    found: dict[str, dict[str, dict[str, Share]]] = {}
    for (fact, method), record in records.items():
        for row in comparisons(record.verdicts[0]):
            cells = found.setdefault(row.label, {})
            for target, each in row.shares.items():
                # decoys are asked of every model; original and oracle are the same beside each
                place = method if target == UNLEARNED else target
                cells.setdefault(place, {})[f"{fact}/{method}" if target == DECOYS else fact] = each
    controls = [control for control in (ORACLE, DECOYS) if has(control, records)]
    columns = list(dict.fromkeys([ORIGINAL, *methods, *controls]))
    whole = {name: len(cells) for name, cells in found[PLAIN].items()}
    rows = []
    for label, cells in found.items():
        known = {name: each for name, each in cells.items() if len(each) == whole[name]}
        if not known.keys() & {*methods}:
            continue
        rows.append([label, *(estimate(known.get(name, {})) for name in columns)])
    return table(["attack", *columns], rows)


def estimate(values: Mapping[str, Share]) -> str:
    """Mean and interval over facts; of one fact, in how many of its phrasings it is told."""
    if not values:
        return "-"
    if len(values) == 1:
        (only,) = values.values()
        return f"{only.hits}/{only.n}"
    value, low, high = mean([each.value for each in values.values()])
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def said(records: Records, refused: Sequence[str]) -> str:
    """How much stands behind the table."""
    facts = list(dict.fromkeys(fact for fact, _ in records))
    asked = sorted({record.request["questions"] for record in records.values()})
    number = "1 fact" if len(facts) == 1 else f"{len(facts)} facts"
    text = f"{number} ({', '.join(facts)}), {' or '.join(map(str, asked))} phrasings each."
    pronoun = "it" if len(refused) == 1 else "them"
    return text + (f" Left out, since the oracle tells {pronoun}: {', '.join(refused)}." if refused else "")


if __name__ == "__main__":
    main()
