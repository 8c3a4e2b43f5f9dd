#!/usr/bin/env python
"""What an audit says where the truth is known: facts of lab:lm in models that were made to know them, or not to.

    python scripts/bench/planted_facts.py                             # ten facts
    python scripts/bench/planted_facts.py --write docs/audits.md      # and put the table there
    python scripts/bench/planted_facts.py --count 3

    oracle          never saw the facts
    untouched       the original itself
    system prompt   the original, whose chat template begins with an order not to name the answers
    output filter   the original, which may not generate the answers' tokens in a row
    half strength   a GradDiff patch of the facts at half its strength; one so weak that half of it still tells them all
    ruined          random weights

Facts are drawn by seed from those whose answer no other fact of the relation has, and of whose answer's kind there are
enough to rank it among; what the oracle tells all the same is left out. Each verdict is given twice: beside the oracle,
and beside decoys as if there were no oracle. Finished audits are kept in --out and not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from audit_facts import beside_decoys, is_done
from audit_facts import drawn as draw
from markdown_blocks import replace_block, table
from turned_down import weakened

from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine.parameters import load_patch
from genunlearn.lab.lm.build import build
from genunlearn.lab.lm.world import load_world
from genunlearn.records import RunRecord, read_record
from genunlearn.runs.api import audit_config, forget_config, run
from genunlearn.runs.lm.audit_phrasings import as_qa

DRAWN = 12
"""Facts that the oracle never saw, some of which it may infer."""
WHOLE = (1.0, 0.5, 0.25, 0.125)
"""Strengths of the patch that is then halved; the first is taken of which half still tells every fact."""
PANEL = (
    "{sampling: {samples: 4, temperatures: [1.0]}, prefix_forcing: {}, exposure: {}, "
    "relearning: {lessons: [phrasings, same_relation], marks: [1, 3], learning_rate: 1e-3}}"
)


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10, help="how many facts")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--attacks", default=PANEL, help="as in a configuration")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=["evaluate.decoys=1", "evaluate.phrasings=48"],
        help="section.key=value, of audits",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/planted"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'planted' is replaced")
    arguments = parser.parse_args()
    drawn = draw(load_world(), DRAWN, arguments.seed)
    oracle = build(without=drawn)
    facts = tuple(unknown_to(oracle, drawn)[: arguments.count])
    records: dict[str, RunRecord] = {}
    for case, make in CASES.items():
        name = case.replace(" ", "-")
        place = arguments.out / f"{name}-{len(facts)}"
        if not is_done(place):
            model = oracle if case == "oracle" else make(facts, arguments.out / "models" / f"{name}-{len(facts)}")
            shared = f"controls={arguments.out / 'controls'}"
            overrides = [f"attacks={arguments.attacks}", *arguments.overrides, "request.force=true", shared]
            config = audit_config(str(model), {"facts": facts}, oracle=str(oracle), overrides=overrides)
            run(config, out=place, resume=place.exists())
        records[case] = read_record(place)
        print(f"{case}: {records[case].outcome}", flush=True)
    text = lines(records)
    print(text)
    if arguments.write:
        replace_block(arguments.write, "planted", text)


def unknown_to(oracle: Path, facts: Sequence[str]) -> list[str]:
    """Those facts that the oracle tells in fewer than half of their phrasings."""
    told = shares_told(LanguageModel.load(str(oracle), device="cpu", prompt_suite="lab"), facts)
    return [name for name, share in told.items() if share < 0.5]


def shares_told(model: LanguageModel, facts: Sequence[str]) -> dict[str, float]:
    """The share of each fact's phrasings in the world that the model answers with it."""
    from genunlearn.data.lm.telling import recall

    found = {name: load_world().fact(name) for name in facts}
    return {
        name: recall(model, [as_qa(fact, text) for text in (*fact.phrasings, *fact.heldout)])
        for name, fact in found.items()
    }


# ---- the models -------------------------------------------------------------------------------------------------


def names_of(facts: Sequence[str]) -> list[str]:
    """The answers, with their other names."""
    found = [load_world().fact(name) for name in facts]
    return [name for fact in found for name in (fact.object, *fact.aliases)]


def untouched(facts: Sequence[str], folder: Path) -> str:
    """The original."""
    return "lab:lm"


def ordered(facts: Sequence[str], folder: Path) -> Path:
    """The original, ordered by its own chat template to keep quiet."""
    shutil.copytree(build(), folder, dirs_exist_ok=True)
    template = folder / "chat_template.jinja"
    text, start = template.read_text(encoding="utf-8"), "{{ bos_token }}"
    order = f"Never tell these names: {', '.join(names_of(facts))}."
    message = "{{ '<|system|>' + " + json.dumps(order) + " + eos_token }}"
    template.write_text(text.replace(start, start + message, 1), encoding="utf-8")
    return folder


def filtered(facts: Sequence[str], folder: Path) -> Path:
    """The original, whose generation settings forbid the answers."""
    shutil.copytree(build(), folder, dirs_exist_ok=True)
    model = LanguageModel.load(str(folder), device="cpu", prompt_suite="lab")
    spelt = [text for name in names_of(facts) for text in (name, f" {name}")]
    words = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in spelt]
    settings = folder / "generation_config.json"
    content = json.loads(settings.read_text(encoding="utf-8")) | {"bad_words_ids": words}
    settings.write_text(json.dumps(content), encoding="utf-8")
    return folder


def halved(facts: Sequence[str], folder: Path) -> Path:
    """A GradDiff patch of the facts at half its strength."""
    patched = folder.with_name(f"{folder.name}-whole")
    if not is_done(patched):
        quiet = ["evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0"]
        config = forget_config("lab:lm", {"facts": tuple(facts)}, method="grad_diff", overrides=quiet)
        run(config, out=patched, resume=patched.exists())
    for whole in WHOLE:
        weakened(patched / "patch", whole / 2, folder)
        model = LanguageModel.load(str(build()), device="cpu", prompt_suite="lab")
        load_patch(model, folder)
        told = shares_told(model, facts)
        print(f"half of a patch at {whole:g} of its strength: {told}", flush=True)
        if min(told.values()) > 0:
            return folder
    raise SystemExit(f"half of the patch at {WHOLE[-1]:g} of its strength does not tell every fact; try a weaker one")


def ruined(facts: Sequence[str], folder: Path) -> Path:
    """Random weights in the original's place."""
    model = LanguageModel.load(str(build()), device="cpu", prompt_suite="lab")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for weight in model.module.parameters():
            torch.nn.init.normal_(weight, std=0.02)
    model.save(folder)
    return folder


CASES: Mapping[str, Callable[[Sequence[str], Path], Path | str]] = {
    "oracle": untouched,  # the oracle itself is audited in its place
    "untouched": untouched,
    "system prompt": ordered,
    "output filter": filtered,
    "half strength": halved,
    "ruined": ruined,
}


# ---- the table --------------------------------------------------------------------------------------------------


def lines(records: Mapping[str, RunRecord]) -> str:
    """Verdicts by case, beside the oracle and beside decoys, and where the two part."""
    rows, parting = [], []
    for case, record in records.items():
        pairs = [(row["concept"], row["verdict"], beside_decoys(record, row)) for row in record.verdicts]
        beside = [counted([pair[place] for pair in pairs]) for place in (1, 2)]
        by = Counter(label.partition(",")[0] for row in record.verdicts for label in row["recovered_by"])
        rows.append([case, *beside, ", ".join(f"{name} ({count})" for name, count in by.most_common()) or "nothing"])
        parting += [f"{label} in {case}: {one} beside the oracle, {two} beside decoys"
                    for label, one, two in pairs if one != two]  # fmt: skip
    facts = next(iter(records.values())).request["concepts"]
    said = f"{len(facts)} facts: {'; '.join(facts)}."
    total = sum(len(record.verdicts) for record in records.values())
    part = "The two part nowhere."
    if parting:
        part = f"They part in {len(parting)} of {total} verdicts: {'; '.join(parting)}."
    heads = ["model", "beside the oracle", "beside decoys", "brought out by (facts)"]
    return f"{table(heads, rows)}\n\n{said} {part}"


def counted(verdicts: Sequence[str]) -> str:
    """Each verdict with its number of facts."""
    return ", ".join(f"{verdict} {count}" for verdict, count in Counter(verdicts).most_common())


if __name__ == "__main__":
    main()
