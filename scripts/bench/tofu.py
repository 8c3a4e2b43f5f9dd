#!/usr/bin/env python
"""TOFU forget10 from nothing: a small model taught on the real data, its retain model, and ten methods, as a board.

    python scripts/bench/tofu.py FOLDER                       # all 200 authors
    python scripts/bench/tofu.py FOLDER --share 0.1           # 20 authors and a tenth of each question set
    python scripts/bench/tofu.py FOLDER --jobs 2 --write docs/results/tofu.md

FOLDER holds TOFU's files (`locuslab/TOFU` on the hub). The base, a Llama of about a million parameters, is trained here
on the real authors and the facts of the world, so that there is something to lose that is not TOFU; the original is the
base fine-tuned on all fictitious authors, the retain model the same without those to be forgotten. Both see the world
again meanwhile, which a model so small would lose otherwise. Everything is kept in --out and in the cache, and nothing
is done twice: a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from markdown_blocks import replace_block, table

from genunlearn import load_config
from genunlearn.config.lm import LMConfig
from genunlearn.contracts import ORACLE
from genunlearn.data.lm.benchmarks.tofu import TOFU
from genunlearn.data.rows import read_rows
from genunlearn.engine.progress import Watch
from genunlearn.lab.cache import build_once, recipe_key
from genunlearn.lab.determinism import surroundings
from genunlearn.lab.lm.build import Recipe, build_model, build_tokenizer
from genunlearn.lab.lm.corpus import Example
from genunlearn.lab.lm.training import encode, train
from genunlearn.records import RunRecord, write_jsonl
from genunlearn.reports.lm.board import COLUMNS, board_lines
from genunlearn.reports.lm.compare import write_comparison
from genunlearn.reports.lm.wording import metric_words
from genunlearn.reports.numbers import format_number
from genunlearn.runs.lm.oracle import fine_tuned
from genunlearn.runs.lm.request import read_request

METHODS: Mapping[str, tuple[str, ...]] = {
    "grad_ascent": (),
    "grad_diff": (),
    "npo": (),
    "idk_dpo": (),
    "sim_npo": (),
    "undial": (),
    "wga": (),
    "rmu": (),
    "ceu": (),
    "jens_un": (),
}
"""Methods of the board, with what they need besides the settings that all share."""
SPLIT = "forget10"
WORLD = ("real_authors_perturbed", "world_facts_perturbed")
WORLD_REPEATS = 4
"""How often an epoch of fine-tuning asks each question of the world."""
RECIPE = Recipe(vocab_size=3000, batch_size=64, steps=200, warmup_steps=20)
"""The base; its last steps see every question of the world some sixty times."""


def main() -> None:
    """Teach what is not taught yet, run what has not run yet, print the board."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of TOFU's files")
    parser.add_argument("--share", type=float, default=1.0, help="of the authors and of each question set")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated names")
    parser.add_argument("--epochs", type=int, default=12, help="of fine-tuning the base on TOFU")
    parser.add_argument("--unlearn-epochs", type=int, default=5, help="over the forget set")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that teach and unlearn side by side, a core each"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tofu"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'table' is replaced")
    arguments = parser.parse_args()
    begun, watch = time.monotonic(), Watch()
    data = cut(arguments.folder, arguments.out / "data", arguments.share)
    base = build_base(data, watch)
    shared = settings(data, base, arguments.epochs, arguments.unlearn_epochs)
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn"), one_thread) as pool:
        original, retained = taught_models(pool, shared)
        shared += [f"model.source={original}", f"evaluate.oracle={retained}", f"controls={arguments.out / 'controls'}"]
        records = unlearned(pool, arguments.methods.split(","), shared, arguments.out)
    write_comparison(records, arguments.out / "board")
    text = table(*board(records))
    print(text)
    print(f"\n{time.monotonic() - begun:.0f} seconds on the clock; {arguments.out / 'board'}")
    if arguments.write:
        replace_block(arguments.write, "table", text)


# ---- the data and the models ------------------------------------------------------------------------------------


def cut(folder: Path, target: Path, share: float) -> Path:
    """The folder itself, or one with the first `share` of each file; an author has 20 rows in a file of TOFU."""
    if share >= 1:
        return folder
    target.mkdir(parents=True, exist_ok=True)
    for name in TOFU().files(SPLIT):
        rows = [row.values for row in rows_of(folder, name)]
        count = math.ceil(len(rows) * share / 20) * 20 if name not in WORLD else math.ceil(len(rows) * share)
        write_jsonl(target / f"{name}.jsonl", rows[:count])
    return target


def rows_of(folder: Path, name: str) -> list[Any]:
    """The rows of one of TOFU's files, whatever its suffix."""
    (path,) = folder.glob(f"{name}.json*")
    return read_rows(path)


def build_base(data: Path, watch: Watch) -> Path:
    """A small Llama that knows the real authors and the world, and TOFU's words but none of its authors."""
    world = [Example(row.values["question"], row.values["answer"]) for name in WORLD for row in rows_of(data, name)]
    words = [text for name in (SPLIT, "retain90") for text in texts_of(data, name)] + [
        text for example in world for text in (example.ask or "", example.reply)
    ]
    recipe = {**vars(RECIPE), "words": words}
    examples = [*world] * (RECIPE.steps * RECIPE.batch_size // len(world))
    random.Random(0).shuffle(examples)

    def make(folder: Path) -> dict[str, Any]:
        watch.announce("training the base")
        with surroundings(0):
            tokenizer = build_tokenizer(words, RECIPE.vocab_size)
            model = build_model(RECIPE, tokenizer)
            train(model, encode(examples, tokenizer), RECIPE.schedule(), 0, lambda *_: None)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return {"kind": "tofu-base", "parameters": model.num_parameters()}

    return build_once("tofu-base", recipe_key(recipe), make)


def taught_models(pool: Executor, shared: Sequence[str]) -> tuple[Path, Path]:
    """The original and the retain model, fine-tuned from one base with the same settings."""
    original, retained = (pool.submit(taught, shared, knows_all=knows_all) for knows_all in (True, False))
    return original.result(), retained.result()


def taught(shared: Sequence[str], *, knows_all: bool) -> Path:
    """The base fine-tuned on what must stay and on the world, and perhaps on what is to be forgotten."""
    config = checked("npo", shared)
    request = read_request(config)
    measured, retain = request.surroundings.measured, request.retain or ()
    world = [item for name in ("real_authors", "world_facts") for item in measured[name]] * WORLD_REPEATS
    return fine_tuned(config, (*(request.forget if knows_all else ()), *retain, *world), Watch())


def texts_of(data: Path, name: str) -> Iterator[str]:
    """Questions and answers of one of TOFU's files."""
    for row in rows_of(data, name):
        yield from (row.values["question"], row.values["answer"])


# ---- the runs ---------------------------------------------------------------------------------------------------


def settings(data: Path, base: Path, epochs: int, unlearn_epochs: int) -> list[str]:
    """What all methods share: the data, how original and retain model are taught, how long is unlearnt."""
    batch = 32
    steps = unlearn_epochs * math.ceil(len(rows_of(data, SPLIT)) / batch)
    taught = {"base": str(base), "epochs": epochs, "learning_rate": 3e-3, "batch_size": batch, "accumulation": 1}
    trained = {"learning_rate": 5e-4, "batch_size": batch, "max_steps": steps, "save_every": steps}
    return [
        f"request.path={data}",
        f"model.source={base}",
        "model.dtype=float32",
        "model.device=cpu",
        f"oracle={json.dumps(taught)}",
        f"train={json.dumps(trained)}",
        "evaluate.max_new_tokens=100",
        "evaluate.batch_size=256",
        "request.force=true",
    ]


def checked(name: str, overrides: Sequence[str]) -> LMConfig:
    """The shipped configuration of a method with the board's settings."""
    config = load_config(f"lm/tofu/{name}", overrides)
    assert isinstance(config, LMConfig)
    return config


def unlearned(pool: Executor, names: Sequence[str], shared: Sequence[str], out: Path) -> dict[str, RunRecord]:
    """The run of every method: the first one alone, so that the others find original and retain model measured."""
    first, *others = names
    records = {first: pool.submit(carry_out, first, shared, out).result()}
    jobs = {name: pool.submit(carry_out, name, shared, out) for name in others}
    return records | {name: job.result() for name, job in jobs.items()}


def carry_out(name: str, shared: Sequence[str], out: Path) -> RunRecord:
    """The run of a method; taken up where it was interrupted, and read where it has ended."""
    from genunlearn.cli.commands import run_one

    return run_one(checked(name, [*shared, *METHODS.get(name, ())]), out / name, resume=True)


def one_thread() -> None:
    """Processes that share the cores get one each."""
    torch.set_num_threads(1)


def board(records: Mapping[str, RunRecord]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table."""
    head = ["model", *(metric_words(name).label.lower() for name, _ in COLUMNS), "seconds"]
    rows = []
    for line in board_lines(records):
        found = [line.record.find(name, line.target, group) for name, group in COLUMNS]
        seconds = "" if line.is_control else format_number(line.record.cost["seconds"]["unlearn"])
        label = {ORACLE: "retain"}.get(line.target, line.label)
        values = [format_number(result.value) if result and result.value is not None else "" for result in found]
        rows.append([label, *values, seconds])
    return head, rows


if __name__ == "__main__":
    main()
