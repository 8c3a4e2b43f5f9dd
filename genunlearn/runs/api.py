"""The Python face of the package: ``forget``, ``run``, ``load_config``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.config import RunConfig, build_config, load_config
from genunlearn.engine.progress import Watch
from genunlearn.records import RunRecord
from genunlearn.runs.lm import FactRun

LAB_DEFAULT = "lm/lab/unstar"
HUB_DEFAULT = "lm/hub/unstar"


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
    from accelerate import PartialState

    if isinstance(config, str | Path):
        config = load_config(config, overrides)
    elif not isinstance(config, RunConfig):
        config = build_config(config, overrides)
    watch = Watch(is_shown=progress and PartialState().is_main_process)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="genunlearn-"))
    record = FactRun(config, folder, resume=resume, watch=watch)()
    if PartialState().is_main_process:
        write_reports(record, folder)
        watch.announce(f"report: {folder / 'report.html'}")
    return record


def write_reports(record: RunRecord, folder: Path) -> None:
    """Write the report of a run and, where it left a patch, the patch's model card."""
    from genunlearn.reports.card import write_patch_card
    from genunlearn.reports.html import write_report

    write_report(record, folder)
    if (folder / "patch").is_dir():
        write_patch_card(record, folder / "patch")


def forget_config(
    model: str,
    facts: Sequence[str] = (),
    *,
    question: str | None = None,
    file: str | None = None,
    retain: str | None = None,
    method: str | None = None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """The configuration behind `forget`: the shipped one for this kind of model, with the request filled in."""
    shipped = LAB_DEFAULT if model.startswith("lab:") else HUB_DEFAULT
    if method is not None and method != "unstar":
        shipped = shipped.replace("unstar", method)
    data = load_config(shipped).model_dump(exclude_unset=True)
    data["model"] = {**data.get("model", {}), "source": model}
    data["request"] = {"facts": tuple(facts), "question": question, "file": file, "retain": retain}
    return build_config(data, overrides)


def forget(
    model: str = "lab:lm",
    facts: str | Sequence[str] = (),
    *,
    question: str | None = None,
    file: str | None = None,
    retain: str | None = None,
    method: str = "unstar",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: bool = False,
) -> RunRecord:
    """Make a language model forget facts.

    Args:
        model: ``lab:lm``, a folder in the hub's format or a hub id.
        facts: One or more ``"subject | relation | object"``.
        question: The question that a single fact answers, for models other than the lab's.
        file: Facts as JSON lines or CSV, instead of `facts`.
        retain: Question-answer pairs that must stay, as JSON lines.
        method: Name of the method.
        out: Output folder.
        overrides: ``section.key=value`` strings.
        progress: Show announcements and progress bars on stderr.

    Returns:
        The record; the patch is in ``out/patch``.

    Example:
        >>> record = genunlearn.forget("lab:lm", "Harry Potter | studied at | Hogwarts", out="runs/potter")
    """
    listed = (facts,) if isinstance(facts, str) else tuple(facts)
    config = forget_config(
        model, listed, question=question, file=file, retain=retain, method=method, overrides=overrides
    )
    return run(config, out=out, progress=progress)
