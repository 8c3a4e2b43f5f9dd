"""Requests of a file or the command line, one after the other, each upon what the one before has left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genunlearn.cli.commands import UNREGISTERED, Register, console, run_one
from genunlearn.errors import InputError
from genunlearn.records import RunRecord, write_text

LIGHTER = ("evaluate.oracle=never", "request.force=true")
"""No oracle stands for one request after others; a fact that is not known any more is a request all the same."""


def forget_in_order(
    model: str,
    request: Mapping[str, Any],
    methods: Sequence[str],
    *,
    out: Path,
    resume: bool,
    overrides: Sequence[str],
    register: Register = UNREGISTERED,
) -> Path:
    """Carry out one run a fact, each on the patch of the one before, and show what became of all of them.

    The runs lie in `out` by number. With `resume` those that have ended are not done again.

    Returns:
        The folder of the last run, whose patch holds all requests.

    Raises:
        InputError: Several methods, one question for several facts, or nothing to forget.
    """
    from genunlearn.registry import METHODS
    from genunlearn.reports.lm.sequence import print_sequence, write_sequence
    from genunlearn.runs.api import forget_config

    if len(methods) > 1:
        raise InputError("--sequential and --compare given: requests follow each other by one method; leave one out")
    wanted = _one_by_one(request, out)
    (method,) = (METHODS.line(name.strip(), "lm").name for name in methods)
    register.check()
    records: dict[str, RunRecord] = {}
    folder = out
    for number, own in enumerate(wanted, start=1):
        after = [f"on={folder.resolve()}"] if number > 1 else []
        folder = out / f"{number:02}"
        config = forget_config(model, own, method=method, overrides=[*LIGHTER, *overrides, *after])
        console.rule(f"request {number} of {len(wanted)}", style="dim")
        records[folder.name] = run_one(config, folder, resume and folder.exists())
        register.enter(records[folder.name], folder)
        write_sequence(records, out)  # what is done so far is there if the next one fails
    print_sequence(records, console)
    console.print(f"sequence: {out / 'compare.html'}", soft_wrap=True)
    console.print(f"patch for all requests: {folder}", soft_wrap=True)
    return folder


def _one_by_one(request: Mapping[str, Any], out: Path) -> list[dict[str, Any]]:
    """A request for each fact; what stands in a file gets a file of its own."""
    from genunlearn.data.lm.requests import read_facts

    facts, file = request.get("facts") or (), request.get("file")
    shared = {key: value for key, value in request.items() if key not in ("facts", "file")}
    if bool(facts) == bool(file):
        raise InputError("--sequential: name the requests in --fact, one each, or in --facts FILE")
    if request.get("question"):
        raise InputError("--sequential and --question given: put questions into --facts FILE")
    if not file:
        return [{**shared, "facts": (fact,)} for fact in facts]
    found = []
    for number, fact in enumerate(read_facts(file), start=1):
        path = out / "requests" / f"{number:02}.jsonl"
        row = {key: value for key, value in asdict(fact).items() if value not in (None, (), "")}
        write_text(path, json.dumps(row, ensure_ascii=False) + "\n")
        found.append({**shared, "file": str(path.resolve())})
    return found
