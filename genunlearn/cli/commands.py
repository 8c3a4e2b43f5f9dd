"""What the commands do once their arguments are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genunlearn.config import RunConfig
from genunlearn.config.lm import LMConfig
from genunlearn.errors import ConfigError
from genunlearn.records import RunRecord, read_record

console = Console(highlight=False)


def fresh_folder(name: str) -> Path:
    """A folder under ``runs/`` that is not there yet."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path, number = Path("runs") / f"{name}-{stamp}", 1
    while path.exists():
        path, number = Path("runs") / f"{name}-{stamp}-{number}", number + 1
    return path


def forget(
    model: str,
    request: Mapping[str, Any],
    methods: Sequence[str],
    *,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
    ledger: Path | None = None,
) -> None:
    """Run one method, or several beside each other with a comparison at the end."""
    from genunlearn.registry import METHODS
    from genunlearn.runs.api import forget_config

    names = [METHODS.line(name.strip(), "lm").name for name in methods]
    shared = [override for override in overrides if not override.startswith("method.")]
    configs = {
        name: _lighter(
            forget_config(model, request, method=name, overrides=overrides if name == names[0] else shared),
            is_first=name == names[0],
        )
        for name in names
    }
    run_beside(configs, out or fresh_folder("forget"), resume=resume, ledger=ledger)


def audit(
    unlearned: str,
    request: Mapping[str, Any],
    *,
    original: str | None,
    oracle: str | None,
    suite: str,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
) -> None:
    """Audit one model."""
    from genunlearn.runs.api import audit_config

    config = audit_config(unlearned, request, original=original, oracle=oracle, suite=suite, overrides=overrides)
    out = out or fresh_folder("audit")
    finish(run_one(config, out, resume), out)


def run_beside(configs: Mapping[str, RunConfig], out: Path, *, resume: bool, ledger: Path | None) -> None:
    """Carry out one configuration in `out`, or several in folders below it with a comparison at the end."""
    if ledger is not None:
        from genunlearn.ledger import check_ledger

        for remark in check_ledger(ledger):
            console.print(f"ledger {ledger}: {remark}; the next entry mends it", soft_wrap=True, markup=False)
    records: dict[str, RunRecord] = {}
    folders = {name: out / name if len(configs) > 1 else out for name in configs}
    for name, config in configs.items():
        if len(configs) > 1:
            console.rule(name, style="dim")
        records[name] = run_one(config, folders[name], resume)
    first = next(iter(configs))
    if ledger is not None:
        enter(ledger, records[first], folders[first])
    if len(configs) == 1:
        finish(records[first], out)
    else:
        show_comparison(records, out)


def _lighter(config: LMConfig, *, is_first: bool) -> LMConfig:
    """Beside the first method the oracle need not be measured again."""
    if is_first:
        return config
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"oracle": "never"})})


def run(config: str, *, out: Path | None, resume: bool, overrides: Sequence[str]) -> None:
    """Carry out one configuration."""
    from genunlearn.runs.methods import load_run

    out = out or fresh_folder(Path(config).stem)
    finish(run_one(load_run(config, overrides), out, resume), out)


def run_one(config: RunConfig, out: Path, resume: bool) -> RunRecord:
    """One run with progress shown."""
    from genunlearn.runs.api import run as carry_out
    from genunlearn.runs.api import write_reports
    from genunlearn.runs.folder import ended_run

    if resume and (done := ended_run(out, config)) is not None:
        console.print(f"{out}: its run has ended already; nothing is done again", soft_wrap=True, markup=False)
        if not (out / "report.html").is_file():  # killed in between
            write_reports(done, out)
        return done
    return carry_out(config, out=out, resume=resume, progress=True)


def enter(ledger: Path, record: RunRecord, folder: Path) -> None:
    """Add the run to the ledger of requests, unless it is there already."""
    from accelerate import PartialState

    from genunlearn.ledger import append_to_ledger

    if PartialState().is_main_process:
        added = append_to_ledger(ledger, record, folder)
        is_old = "" if added.is_new else ", which is there already"
        console.print(f"ledger: entry {added.entry['entry']} in {ledger}{is_old}", soft_wrap=True)


def finish(record: RunRecord, out: Path) -> None:
    """Print what went and what stayed, and where the report lies."""
    from genunlearn.processes import this_process
    from genunlearn.reports.reporter import reporter_of

    if this_process().is_main_process:
        reporter_of(record).show(record, console)
        console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def show_comparison(records: Mapping[str, RunRecord], out: Path) -> None:
    """Print several runs in one table and write the comparison."""
    from genunlearn.processes import this_process
    from genunlearn.reports.reporter import common_reporter

    if not this_process().is_main_process:
        return
    reporter = common_reporter(records)
    path = reporter.compare(records, out)
    reporter.show(records, console)
    console.print(f"comparison: {path}", soft_wrap=True)
    first = next(iter(records))
    if (out / first / "report.html").is_file():
        console.print(f"report: {out / first / 'report.html'}", soft_wrap=True)


def antisamples(config: str, *, out: Path | None, resume: bool, overrides: Sequence[str]) -> None:
    """Write the anti-samples and say how to go on."""
    from genunlearn.engine.progress import Watch
    from genunlearn.runs.lm.antisamples import write_antisamples
    from genunlearn.runs.methods import load_run

    out = out or fresh_folder("antisamples")
    settings = load_run(config, overrides)
    if not isinstance(settings, LMConfig):
        raise ConfigError(f"{config}: domain = {settings.domain!r}: anti-samples are written by language models")
    path = write_antisamples(settings, out, resume=resume, watch=Watch())
    console.print(f"written: {path}", soft_wrap=True)
    console.print(f"review it, then: genunlearn run {config} --antisamples {path}", soft_wrap=True)


def oracle(config: str, overrides: Sequence[str], *, original: bool) -> None:
    """Train what a run is held against, or what is then to forget, and print the folder."""
    from genunlearn.engine.progress import Watch
    from genunlearn.runs.lm.oracle import oracle_source, original_source
    from genunlearn.runs.lm.request import read_request
    from genunlearn.runs.methods import load_run

    settings = load_run(config, overrides)
    if not isinstance(settings, LMConfig):
        raise ConfigError(
            f"{config}: domain = {settings.domain!r}: only oracles of language models are trained by this"
        )
    find = original_source if original else oracle_source
    console.print(find(settings, read_request(settings), Watch()), soft_wrap=True, markup=False)


def ask(model: str, questions: Sequence[str], patch: Path | None, *, force: bool = False) -> None:
    """Answers of the model and, with a patch, of the patched model beside them."""
    from genunlearn.config import ModelConfig
    from genunlearn.engine.parameters import load_patch
    from genunlearn.runs.lm.request import open_model

    loaded = open_model(LMConfig(model=ModelConfig(source=model)))
    table = Table("question", "before" if patch else "answer", show_lines=len(questions) > 1)
    before = loaded.answer(questions)
    rows: list[tuple[str, ...]] = list(zip(questions, before, strict=True))
    if patch is not None:
        described = load_patch(loaded, patch, force=force)
        if not described.is_verified:
            base = f"its base as {described.base}" if described.base else "no base"
            console.print(f"{patch}: not verified by a hash of its own; it names {base}", soft_wrap=True, markup=False)
        table.add_column("after")
        rows = [(*row, after) for row, after in zip(rows, loaded.answer(questions), strict=True)]
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


def compare(folders: Sequence[Path], out: Path) -> None:
    """Compare finished runs."""
    show_comparison({_label(folder): read_record(folder) for folder in folders}, out)


def _label(folder: Path) -> str:
    return folder.resolve().name


def report(folder: Path) -> None:
    """Write the report anew."""
    from genunlearn.runs.api import write_reports

    console.print(f"report: {write_reports(read_record(folder), folder)}", soft_wrap=True)


def check(config: str, overrides: Sequence[str]) -> None:
    """Check everything that needs no weights."""
    from genunlearn.registry import RUNS
    from genunlearn.runs.methods import load_run

    settings = load_run(config, overrides)
    console.print(f"{config}: {RUNS.get(settings.task).check(settings)}: fine", soft_wrap=True)


def lab_build(name: str, without: Sequence[str], force: bool) -> None:
    """Build an embedded model and print where it is and how good it is."""
    from genunlearn.registry import LABS

    folder = LABS.get(name)(without=list(without), force=force, progress=True)
    console.print(str(folder), soft_wrap=True)
