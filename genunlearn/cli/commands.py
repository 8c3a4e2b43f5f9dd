"""What the commands do once their arguments are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from genunlearn.config import RunConfig
from genunlearn.config.lm import LMConfig
from genunlearn.errors import ConfigError, DataError, InputError, SourceNotFound
from genunlearn.records import RunRecord, read_record
from genunlearn.registry import VALUATIONS

console = Console(highlight=False)


@dataclass(frozen=True)
class Register:
    """The ledger that a run is entered in; None for no ledger.

    Attributes:
        ledger: Its file.
        is_sealed: Whether keyed hashes stand there in place of what is forgotten.
    """

    ledger: Path | None = None
    is_sealed: bool = False

    def check(self) -> None:
        """See before the run whether it can be entered after it."""
        if self.ledger is None:
            if self.is_sealed:
                raise InputError("--sealed is about the ledger: give --ledger FILE too")
            return
        from genunlearn.ledger import check_ledger

        for remark in check_ledger(self.ledger):
            console.print(f"ledger {self.ledger}: {remark}; the next entry mends it", soft_wrap=True, markup=False)

    def enter(self, record: RunRecord, folder: Path) -> None:
        """Add the run, unless it is there already."""
        from genunlearn.ledger import append_to_ledger
        from genunlearn.processes import this_process

        if self.ledger is not None and this_process().is_main_process:
            added = append_to_ledger(self.ledger, record, folder, is_sealed=self.is_sealed)
            is_old = "" if added.is_new else ", which is there already"
            console.print(f"ledger: entry {added.entry['entry']} in {self.ledger}{is_old}", soft_wrap=True)


UNREGISTERED = Register()


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
    register: Register = UNREGISTERED,
) -> None:
    """Run one method, or several beside each other with a comparison at the end."""
    from genunlearn.registry import METHODS
    from genunlearn.runs.api import forget_config

    _check_named(request, overrides)
    names = [METHODS.line(name.strip(), "lm").name for name in methods]
    shared = [override for override in overrides if not override.startswith("method.")]
    configs = {
        name: _lighter(
            forget_config(model, request, method=name, overrides=overrides if name == names[0] else shared),
            is_first=name == names[0],
        )
        for name in names
    }
    run_beside(configs, out or fresh_folder("forget"), resume=resume, register=register)


def _check_named(request: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Say in the words of the command line that nothing is to be forgotten, or that it is said twice."""
    named = (request.get("facts"), request.get("file"))
    if all(named):
        raise DataError("--fact and --facts given: name what to forget in one of them")
    if not (
        request.get("facts") or request.get("file") or any(override.startswith("request.") for override in overrides)
    ):
        raise DataError('nothing to forget: give --fact "subject | relation | object", or --facts FILE')


def audit_forgotten(
    model: str,
    request: Mapping[str, Any],
    methods: Sequence[str],
    *,
    out: Path,
    resume: bool,
    overrides: Sequence[str],
) -> None:
    """A quick audit of what `forget` has left in `out`, in a folder below each run; several are compared.

    The control is the oracle that the run was measured beside, else decoys.
    """
    from genunlearn.contracts import ORACLE
    from genunlearn.registry import METHODS
    from genunlearn.reports.cells import has_values
    from genunlearn.runs.api import audit_config, forget_config

    names = [METHODS.line(name.strip(), "lm").name for name in methods]
    oracle = forget_config(model, request, method=names[0], overrides=overrides).evaluate.oracle
    shared = [each for each in overrides if each.startswith("model.")]
    records: dict[str, RunRecord] = {}
    for name, folder in _folders(names, out).items():
        console.rule(f"audit of {name}", style="dim")
        own = "never" if oracle == "auto" and not has_values(read_record(folder), ORACLE) else oracle
        config = audit_config(str(folder), request, original=model, oracle=own, overrides=shared)
        records[name] = run_one(config, folder / "audit", resume)
    if len(records) == 1:
        finish(records[names[0]], out / "audit")
    else:
        show_comparison(records, out / "audit")


def _folders(names: Iterable[str], out: Path) -> dict[str, Path]:
    """Where each run of several lies; a single one has the folder for itself."""
    names = list(names)
    return {name: out / name if len(names) > 1 else out for name in names}


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


def value(
    model: str,
    request: Mapping[str, Any],
    methods: Sequence[str],
    *,
    domain: str,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
) -> None:
    """Value data by one method, or by several beside each other with a comparison at the end."""
    from genunlearn.runs.api import value_config

    configs = {
        name: value_config(model, request, method=name, domain=domain, overrides=overrides)
        for name in dict.fromkeys(VALUATIONS.line(method.strip(), "network").name for method in methods)
    }
    if len(configs) > 1 and not any(config.request.requests for config in configs.values()):
        raise InputError("--compare: valuations are compared by what requests cost; give some (--request random:0.1)")
    run_beside(configs, out or fresh_folder("value"), resume=resume, register=UNREGISTERED)


def run_beside(configs: Mapping[str, RunConfig], out: Path, *, resume: bool, register: Register) -> None:
    """Carry out one configuration in `out`, or several in folders below it with a comparison at the end."""
    from genunlearn.runs.folder import check_beside

    register.check()
    if len(configs) > 1:  # a single one is checked by its run
        check_beside(configs, out, resume=resume)
    records: dict[str, RunRecord] = {}
    folders = _folders(configs, out)
    for name, config in configs.items():
        if len(configs) > 1:
            console.rule(name, style="dim")
        records[name] = run_one(config, folders[name], resume)
    first = next(iter(configs))
    register.enter(records[first], folders[first])
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


def ask(
    model: str,
    questions: Sequence[str],
    patch: Path | None,
    quantize: str | None = None,
    *,
    samples: int = 1,
    temperature: float | None = None,
    seed: int = 0,
    force: bool = False,
) -> None:
    """Answers of the model and, with a patch or another whole model, of that beside them.

    Args:
        model: The model.
        questions: What it is asked.
        patch: A patch, a run's folder, or the whole model that a run has left; None for none.
        quantize: ``nf4`` asks the model in 4 bits, ``none`` in its own; by default as the patch was trained.
        samples: Answers to each question.
        temperature: Of the sampling; by default 0, which decodes greedily, for a single answer, and 1 for several.
        seed: Seed of the sampling.
        force: Take a patch that was changed, or made for another base, on whole weights.
    """
    from genunlearn.config.lm import LMModelConfig
    from genunlearn.config.reading import build_section
    from genunlearn.engine.parameters import load_patch, read_note
    from genunlearn.runs.lm.audit_models import is_patch, unlearned_place
    from genunlearn.runs.lm.request import check_names, check_sources, open_model

    heat = float(samples > 1) if temperature is None else temperature
    if samples > 1 and not heat:
        raise InputError(f"--samples {samples}: at temperature 0 all answers are the same; give --temperature 1")
    place = None if patch is None else unlearned_place(str(patch))
    if isinstance(place, str):
        raise SourceNotFound(f"no patch at {patch}: give a run's folder, or its patch (OUT/patch)")
    others = [str(place)] if place is not None and not is_patch(place) else []
    if quantize is None:
        made = None if place is None or others or force else read_note(place).get("base")
        quantize = "nf4" if isinstance(made, dict) and made.get("quantize") == "nf4" else "none"
    config = LMConfig(model=build_section(LMModelConfig, {"source": model, "quantize": quantize}, "ask"))
    check_names(config, *others)
    check_sources(config, *others)
    asked = [[{"role": "user", "content": question}] for question in questions]

    def answers(loaded: Any) -> list[str]:
        texts = loaded.generate(asked, samples=samples, temperature=heat, seed=seed)
        return ["\n".join(each) for each in texts]

    loaded = open_model(config)
    rows: list[tuple[str, ...]] = list(zip(questions, answers(loaded), strict=True))
    table = Table("question", "before" if patch else "answer", show_lines=len(questions) > 1)
    if place is not None:
        if others:
            loaded = open_model(config, str(place))
        elif not (described := load_patch(loaded, place, force=force)).is_verified:
            base = f"its base as {described.base}" if described.base else "no base"
            console.print(f"{patch}: not verified by a hash of its own; it names {base}", soft_wrap=True, markup=False)
        table.add_column("after")
        rows = [(*row, after) for row, after in zip(rows, answers(loaded), strict=True)]
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def compare(folders: Sequence[Path], out: Path) -> None:
    """Compare finished runs."""
    show_comparison({label: read_record(folder) for label, folder in _labelled(folders).items()}, out)


def _labelled(folders: Iterable[Path]) -> dict[str, Path]:
    """Folders by name, with as much of the path before it as tells them apart: audits lie in ``RUN/audit``."""
    places = {folder.resolve(): folder for folder in folders}
    depths = range(1, max((len(place.parts) for place in places), default=0) + 1)
    named = ({"/".join(place.parts[-depth:]): folder for place, folder in places.items()} for depth in depths)
    return next((found for found in named if len(found) == len(places)), {})


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
