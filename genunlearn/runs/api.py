"""The Python face of the package: ``forget``, ``erase``, ``audit``, ``run``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from genunlearn.config import AuditConfig, RunConfig, build_config, list_configs, read_config
from genunlearn.config.diffusion import DiffusionAuditConfig, DiffusionConfig
from genunlearn.config.lm import LMAuditConfig, LMConfig
from genunlearn.config.network import NetworkValueConfig
from genunlearn.domains.sources import find_place
from genunlearn.engine.progress import Watch
from genunlearn.errors import ConfigError, DataError, RunError
from genunlearn.records import RECORD_NAME, RunRecord, read_record
from genunlearn.registry import LAB, METHODS, RUNS, VALUATIONS, family_of
from genunlearn.runs.arguments import folder_of, name_of, overrides_of, source_of, texts_of
from genunlearn.runs.methods import load_run


def run(
    config: RunConfig | Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: bool = False,
) -> RunRecord:
    """Carry out one run and return its record; patch, record and report are in `out`.

    Args:
        config: A `RunConfig`, nested mappings, a YAML file or the name of a shipped configuration.
        out: Output folder; by default a fresh temporary one, named in the log.
        overrides: ``section.key=value`` strings.
        resume: Go on with the run that was interrupted in `out`.
        progress: Show announcements and progress bars on stderr.

    Raises:
        InputError: The configuration, the request or the model cannot be used; nothing was changed.
        RunError: The run started and failed; the record in `out` says how.
    """
    from genunlearn.processes import this_process

    overrides = overrides_of(overrides)
    if isinstance(config, str | Path):
        config = load_run(config, overrides)
    elif isinstance(config, Mapping):
        config = build_config(config, overrides)
    elif not isinstance(config, RunConfig):
        raise ConfigError(f"config = {config!r}: give a RunConfig, nested mappings, a YAML file or a shipped name")
    watch = Watch(is_shown=progress and this_process().is_main_process)
    folder = folder_of("out", out) if out is not None else Path(tempfile.mkdtemp(prefix="genunlearn-"))
    work = RUNS.get(config.task)(config, folder, resume=resume, watch=watch)
    try:
        record: RunRecord = work()
    except RunError:
        if this_process().is_main_process:  # what was measured until then explains the failure
            write_reports(work.record, folder)
        raise
    if this_process().is_main_process:
        watch.announce(f"report: {write_reports(record, folder)}")
    return record


def write_reports(record: RunRecord, folder: Path) -> Path:
    """Write the report of a run, and the cards of what it left; returns the report's path."""
    from genunlearn.reports.reporter import reporter_of

    return reporter_of(record).write(record, folder)


def forget_config(
    model: str | Path, request: Mapping[str, Any], *, method: str = "unstar", overrides: Sequence[str] = ()
) -> LMConfig:
    """The configuration behind `forget`: the shipped one for this kind of model and method, with the request filled in.

    Raises:
        NameNotFound: No such method.
        ConfigError: The request or an override is wrong.
    """
    data = _shipped("lm", source_of("model", model), METHODS.line(name_of("method", method), "lm").name)
    data["request"] = {key: value for key, value in request.items() if value}
    config = build_config(data, overrides_of(overrides))
    assert isinstance(config, LMConfig)  # the shipped ones are
    return config


def _shipped(family: str, model: str, method: str) -> dict[str, Any]:
    """The shipped configuration for a method on a kind of model: its own file's, or what the suite has in common.

    An embedded model may have a suite of its own name; the others share ``lab``.
    """
    own = model.removeprefix(LAB)
    if not model.startswith(LAB):
        suite = "hub"
    else:
        suite = own if any(name.startswith(f"{family}/{own}/") for name in list_configs()) else "lab"
    data = read_config(f"{family}/{suite}/{method}")
    return {**data, "model": {**data.get("model", {}), "source": model}}


def erase_config(
    model: str,
    concepts: str | Sequence[str],
    preserve: str | Sequence[str] = (),
    *,
    method: str = "esd",
    export: str = "auto",
    overrides: Sequence[str] = (),
) -> DiffusionConfig:
    """The configuration behind `erase`: the shipped one for this kind of pipeline and method, with its request.

    Raises:
        NameNotFound: No such method.
        ConfigError: The request or an override is wrong.
    """
    model, method, overrides = source_of("model", model), name_of("method", method), overrides_of(overrides)
    name = method if f"diffusion/lab/{method}" in list_configs() else METHODS.line(method, "diffusion").name
    data = _shipped("diffusion", model, name)
    unsaid = ("auto",) if model.startswith(LAB) else ()
    data["request"] = {"concepts": texts_of("concepts", concepts), "preserve": texts_of("preserve", preserve) or unsaid}
    data["export"] = export
    config = build_config(data, overrides)
    assert isinstance(config, DiffusionConfig)  # the shipped ones are
    return config


def erase(
    model: str = "lab:diffusion",
    concepts: str | Sequence[str] = (),
    *,
    preserve: Sequence[str] = (),
    method: str = "esd",
    export: str = "auto",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> RunRecord:
    """Make a text-to-image pipeline forget concepts; progress is shown where stderr is a terminal.

    Args:
        model: ``lab:diffusion``, a folder in the hub's format or a hub id.
        concepts: One or more ``"name"``, ``"name | synonym"`` or ``"name -> anchor"``.
        preserve: Concepts that must stay; in the lab by default all others of the kind.
        method: Name of the method.
        export: ``lora``, ``delta``, ``pipeline``, or ``auto`` for the smallest form that is exact.
        out: Output folder.
        overrides: ``section.key=value`` strings.

    Returns:
        The record; what was written is in ``out/patch`` or ``out/model``.

    Example:
        >>> record = genunlearn.erase("lab:diffusion", "digit seven", method="uce", out="runs/seven")
    """
    config = erase_config(model, concepts, preserve, method=method, export=export, overrides=overrides)
    return run(config, out=out, progress=sys.stderr.isatty())


def audit_config(
    unlearned: str | Path,
    request: Mapping[str, Any],
    *,
    original: str | None = None,
    oracle: str | None = None,
    suite: str = "quick",
    overrides: Sequence[str] = (),
) -> AuditConfig:
    """The configuration behind `audit`: the suite's, with models and request.

    Args:
        unlearned: The model to audit.
        request: ``facts`` (or ``file``, ``question``) for a language model, ``concepts`` and ``retain`` for a pipeline.
        original: The model that it was made from; by default the lab's.
        oracle: A model that never knew; by default the lab's for models of the lab.
        suite: Name of the shipped configuration.
        overrides: ``section.key=value`` strings.

    Raises:
        DataError: Facts and concepts are given at once, neither is, or the model is of the other family.
        SourceNotFound: No such suite.
        ConfigError: The request or an override is wrong.
    """
    given = {key: value for key, value in request.items() if value}
    is_lm = bool(given.keys() & {"facts", "file"})
    if is_lm and "concepts" in given:
        raise DataError("facts and concepts given: an audit is of a language model or of a pipeline; name one of them")
    said = {override.partition("=")[0] for override in overrides}
    is_lm = is_lm or bool(said & {"request.facts", "request.file"})
    family = "lm" if is_lm else "diffusion"
    unlearned = source_of("unlearned", unlearned)
    _check_family(unlearned, family if is_lm or "concepts" in given or "request.concepts" in said else None)
    data = read_config(f"{family}/audit/{name_of('suite', suite)}")
    source = source_of("original", original) if original is not None else f"{LAB}{family}"
    if source != f"{LAB}{family}":  # the suites' rate is for a small network, and ruins a large one
        data["attacks"].get("relearning", {}).pop("learning_rate", None)
    data |= {
        "model": {**data.get("model", {}), "source": source},
        "unlearned": unlearned,
        "oracle": oracle or ("auto" if source.startswith(LAB) else "never"),
        "request": given,
    }
    config = build_config(data, overrides_of(overrides))
    assert isinstance(config, LMAuditConfig | DiffusionAuditConfig)  # the shipped ones are
    return config


AUDITED = {
    "lm": ("a language model", "facts", '(--fact "subject | relation | object")'),
    "diffusion": ("a text-to-image pipeline", "concepts", "(--concept NAME)"),
}
"""Families that can be audited, and what is named of each."""


def _check_family(unlearned: str, family: str | None) -> None:
    """Refuse an audit that names nothing, or names what a run of another family is not asked for."""
    place, own = find_place(unlearned), None
    for folder in (place, place.parent) if place else ():  # a run's folder, or OUT/patch
        if (folder / RECORD_NAME).is_file():
            own = family_of(read_record(folder).config.get("domain", "lm"))
            break
    if own is not None and own != family:
        if own not in AUDITED:
            raise DataError(f"{unlearned}: a run of a classifier or regressor, which is attacked in its run")
        model, things, option = AUDITED[own]
        raise DataError(f"{unlearned}: a run of {model}: name its {things} {option}")
    if family is None:
        ways = " or ".join(f"{things} of {model} {option}" for model, things, option in AUDITED.values())
        raise DataError(f"nothing to look for: name {ways}")


def value_config(
    model: str,
    request: Mapping[str, Any],
    *,
    method: str = "ecoval_style",
    domain: str = "classifier",
    overrides: Sequence[str] = (),
) -> NetworkValueConfig:
    """The configuration behind `genunlearn value`: the shipped one for the method, with learner and request.

    Args:
        model: ``sklearn:linear``, ``lab:digits``, a folder in the hub's format, ...: what is taught on parts of the
            data.
        request: ``data``, ``requests``, ``level``, ``limit`` and ``unlearned``.
        method: Name of the method.
        domain: ``classifier`` or ``regression``.
        overrides: ``section.key=value`` strings.

    Raises:
        NameNotFound: No such method.
        ConfigError: The request or an override is wrong.
    """
    data = read_config(f"{domain}/value/{VALUATIONS.line(method, 'network').name}")
    data["model"] = {**data.get("model", {}), "source": model}
    given = {key: value for key, value in request.items() if value not in (None, (), "")}
    if "data" not in given and model.startswith(LAB):
        data["request"] = {key: value for key, value in data.get("request", {}).items() if key != "data"}
    elif "data" in given:  # other data have other classes than the shipped requests name
        data["request"] = {key: value for key, value in data.get("request", {}).items() if key != "requests"}
    data["request"] = {**data.get("request", {}), **given}
    config = build_config(data, overrides)
    assert isinstance(config, NetworkValueConfig)  # the shipped ones are
    return config


class AuditOptions(TypedDict, total=False):
    """What `audit` takes besides.

    Attributes:
        original: The model that the audited one was made from; by default ``lab:lm`` or ``lab:diffusion``.
        oracle: A model that never knew; the lab's is retrained by default.
        suite: ``quick`` or ``full``; for pipelines also ``paper``.
        overrides: ``section.key=value`` strings, such as ``request.retain=[digit four]``.
    """

    original: str | None
    oracle: str | None
    suite: str
    overrides: Sequence[str]


def audit(
    unlearned: str | Path,
    concepts: str | Sequence[str] = (),
    *,
    facts: str | Path | Sequence[str] = (),
    out: str | Path | None = None,
    **options: Unpack[AuditOptions],
) -> RunRecord:
    """Say whether facts or concepts are gone from an unlearned model, or only hidden.

    Args:
        unlearned: Model folder, hub id, patch, or the folder of a run.
        concepts: For a text-to-image pipeline: one or more that are said to be gone.
        facts: For a language model: one or more ``"subject | relation | object"``, or the path of a file of facts.
        out: Output folder.
        options: See `AuditOptions`.

    Returns:
        The record; ``record.verdicts`` has one entry a fact or concept.

    Example:
        >>> record = genunlearn.audit("runs/seven", "digit seven", out="runs/audit")
        >>> record = genunlearn.audit("runs/carmen", facts="Carmen | created by | Georges Bizet", suite="full")
    """
    request: dict[str, Any] = {"concepts": texts_of("concepts", concepts), **_facts_in(facts)}
    return run(audit_config(unlearned, request, **options), out=out, progress=sys.stderr.isatty())


def _facts_in(facts: str | Path | Sequence[str]) -> dict[str, Any]:
    """Facts in a request: the path of their file, or their texts."""
    return {"file": str(facts)} if isinstance(facts, Path) else {"facts": texts_of("facts", facts)}


def forget(
    model: str = "lab:lm",
    facts: str | Path | Sequence[str] = (),
    *,
    question: str | None = None,
    retain: str | Path | None = None,
    method: str = "unstar",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> RunRecord:
    """Make a language model forget facts; progress is shown where stderr is a terminal.

    Args:
        model: ``lab:lm``, a folder in the hub's format or a hub id.
        facts: One or more ``"subject | relation | object"``, or the path of a file of facts.
        question: The question that a single fact answers, for models other than the lab's.
        retain: File of question-answer pairs that must stay.
        method: Name of the method.
        out: Output folder.
        overrides: ``section.key=value`` strings.

    Returns:
        The record; the patch is in ``out/patch``.

    Example:
        >>> record = genunlearn.forget("lab:lm", "Harry Potter | studied at | Hogwarts", out="runs/potter")
    """
    if question is not None and not isinstance(question, str):
        raise DataError(f"question = {question!r}: give the text of one")
    if retain is not None and not isinstance(retain, str | Path):
        raise DataError(f"retain = {type(retain).__name__}: give the path of a file of question-answer pairs")
    request: dict[str, Any] = {"question": question, "retain": str(retain) if retain else None, **_facts_in(facts)}
    config = forget_config(model, request, method=method, overrides=overrides)
    return run(config, out=out, progress=sys.stderr.isatty())
