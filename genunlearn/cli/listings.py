"""Tables of what there is, and the details of one thing."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from genunlearn.config import find_config, list_configs
from genunlearn.errors import InputError
from genunlearn.prompts import list_prompts, load_prompt
from genunlearn.registry import LABS, METHODS, METRICS, SUITES, unknown_name
from genunlearn.shipped import shipped

console = Console(highlight=False)


def methods() -> None:
    """All methods by name."""
    table = Table("method", "shape", "fits", "needs", "what it does")
    for name in METHODS:
        try:
            kind = METHODS.get(name)
        except InputError as error:
            table.add_row(name, "", "", "", f"not available: {error}")
            continue
        needs = [field.name for field in dataclasses.fields(kind.needs) if getattr(kind.needs, field.name)]
        first = (inspect.getdoc(kind) or "").splitlines()[0]
        table.add_row(name, _shape(kind), ", ".join(sorted(kind.domains)), ", ".join(needs), first)
    console.print(table)


def _shape(kind: type) -> str:
    from genunlearn import contracts

    shapes = (contracts.Objective, contracts.Edit, contracts.Protocol)
    return next(shape.__name__ for shape in shapes if issubclass(kind, shape))


def metrics() -> None:
    """All metrics with their suites."""
    suites = {name: SUITES.get(name) for name in SUITES}
    table = Table("metric", "version", "suites", "what it measures")
    for name in METRICS:
        kind = METRICS.get(name)
        within = ", ".join(suite for suite, members in suites.items() if kind in members)
        table.add_row(name, str(kind.version), within, (inspect.getdoc(kind) or "").splitlines()[0])
    console.print(table)


def configs() -> None:
    """All shipped configurations with the first line of their header."""
    table = Table("configuration", "what it does")
    for name in list_configs():
        first = find_config(name).read_text(encoding="utf-8").splitlines()[0]
        table.add_row(name, first.lstrip("# "))
    console.print(table)


def prompts() -> None:
    """All shipped prompts."""
    table = Table("prompt", "version", "variables", "sha256")
    for name in list_prompts():
        prompt = load_prompt(name)
        table.add_row(name, str(prompt.version), ", ".join(prompt.variables), prompt.sha256[:12])
    console.print(table)


def lab_facts(about: str) -> None:
    """Facts that lab:lm knows, with the key that names each."""
    from genunlearn.lab.world import load_world

    table = Table("fact id", "fact")
    found = [t for t in load_world().triples if about.casefold() in f"{t.id} {t}".casefold()]
    for triple in found:
        table.add_row(triple.id, str(triple))
    console.print(table)
    console.print(f"{len(found)} facts in lab:lm; any of them can be named to `genunlearn forget`")
    console.print(f"embedded models: {', '.join(f'lab:{name}' for name in LABS)}", soft_wrap=True)


def show(name: str) -> None:
    """Details of a method, prompt or configuration."""
    if name in METHODS:
        _show_method(METHODS.get(name))
    elif name in list_prompts():
        console.print((shipped("prompts") / f"{name}.jinja").read_text(encoding="utf-8"), markup=False)
    elif name in list_configs():
        console.print(Syntax(find_config(name).read_text(encoding="utf-8"), "yaml", background_color="default"))
    else:
        raise unknown_name("method, prompt or configuration", name, [*METHODS, *list_prompts(), *list_configs()])


def _show_method(kind: Any) -> None:
    module = inspect.getmodule(kind)
    console.print(f"{kind.name}  ({_shape(kind)}; fits {', '.join(sorted(kind.domains))})", style="bold")
    console.print(inspect.getdoc(module) or "", markup=False)
    table = Table("field", "type", "default", "meaning")
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        base, *notes = typing.get_args(hints[field.name]) or (hints[field.name],)
        text = next((note.description for note in notes if getattr(note, "description", None)), "")
        default = repr(field.default) if field.default is not dataclasses.MISSING else "made anew"
        table.add_row(field.name, _type_name(base), default, text)
    console.print(table)


def _type_name(hint: object) -> str:
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")
