"""Tables of what there is, and the details of one thing."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Column, Table

from genunlearn.config import config_text, list_configs
from genunlearn.config.reading import read_config
from genunlearn.errors import InputError, SourceNotFound
from genunlearn.prompts import list_prompts, load_prompt
from genunlearn.registry import (
    ATTACKS,
    DOMAINS,
    GENERATORS,
    LAB,
    LABS,
    LEARNERS,
    METHODS,
    METRICS,
    SUITES,
    VALUATIONS,
    unknown_name,
)
from genunlearn.registry import Table as NameTable
from genunlearn.shipped import shipped


def _print(*objects: Any, **style: Any) -> None:
    """To stdout, as wide as the terminal is now."""
    Console(highlight=False).print(*objects, **style)


def methods() -> None:
    """All methods by name."""
    table = _table("method", "shape", "fits", "needs", "what it does")
    for name, kind in _all(METHODS, table):
        needs = [field.name for field in dataclasses.fields(kind.needs) if getattr(kind.needs, field.name)]
        table.add_row(name, _shape(kind), _fits(kind), ", ".join(needs), escape(_first_line(kind)))
    _print(table)


def attacks() -> None:
    """All attacks with the budget that they have by default."""
    table = _table("attack", "fits", "what the attacker has and may do", "what it is")
    for name, kind in _all(ATTACKS, table):
        table.add_row(name, _fits(kind), *map(escape, (kind().budget, _first_line(kind))))
    _print(table)


def valuations() -> None:
    """All valuation methods."""
    table = _table("valuation", "values are", "fits", "what it does")
    for name, kind in _all(VALUATIONS, table):
        unit = "shares of the score" if kind.is_utility else "a ranking"
        fits = "classes" if kind.needs_classes else "classes, numbers"
        table.add_row(name, unit, fits, escape(_first_line(kind)))
    _print(table)


def learners() -> None:
    """All learners of tasks."""
    table = _table("learner", "forgets by", "loss of a task", "what it does")
    for name, kind in _all(LEARNERS, table):
        how = "its own loss" if kind.forgets else "any method"
        table.add_row(name, how, escape(kind.equation), escape(_first_line(kind)))
    _print(table)


def generators() -> None:
    """All generators of synthetic rows."""
    table = _table("generator", "what it does", "source")
    for name, kind in _all(GENERATORS, table):
        table.add_row(name, escape(_first_line(kind)), escape(kind.paper))
    _print(table)


def _all(names: NameTable, table: Table | None = None) -> Iterator[tuple[str, Any]]:
    """Everything that can be imported of what is named; all else becomes a row of `table` that says why."""
    for line in names.lines():
        try:
            thing = names.load(line)
        except InputError as error:
            if table is not None:
                row = [line.name, *[""] * (len(table.columns) - 2), f"not available: {error}"]
                table.add_row(*map(escape, row))
            continue
        yield line.name, thing


def _table(name: str, *others: str) -> Table:
    """A table whose first column is never cut short: it holds what a user types."""
    table = Table(Column(name, no_wrap=True))
    for other in others:
        table.add_column(other)
    return table


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _fits(kind: Any) -> str:
    if kind.domains is not None:
        return ", ".join(sorted(kind.domains))
    return ", ".join(name for name, domain in _all(DOMAINS) if kind.fits(domain))


def _shape(kind: type) -> str:
    from genunlearn import contracts

    shapes = (contracts.Objective, contracts.Edit, contracts.Protocol)
    return next(shape.__name__ for shape in shapes if issubclass(kind, shape))


def metrics() -> None:
    """All metrics with their suites."""
    suites = [*_all(SUITES)]
    table = _table("metric", "version", "suites", "what it measures")
    for name, kind in _all(METRICS, table):
        within = (f"{suite}/{members.version}" for suite, members in suites if kind in members.metrics)
        table.add_row(name, str(kind.version), ", ".join(within), escape(_first_line(kind)))
    _print(table)


def configs() -> None:
    """All shipped configurations with the first line of their header."""
    table = _table("configuration", "what it does")
    for name in list_configs():
        table.add_row(name, escape(config_text(name).splitlines()[0].lstrip("# ")))
    _print(table)
    _print("FAMILY/SUITE/METHOD runs any other method with what its suite has in common", soft_wrap=True)


def prompts() -> None:
    """All shipped prompts."""
    table = _table("prompt", "version", "variables", "sha256")
    for name in list_prompts():
        prompt = load_prompt(name)
        table.add_row(name, str(prompt.version), ", ".join(prompt.variables), prompt.sha256[:12])
    _print(table)


def lab_facts(about: str, model: str) -> None:
    """Facts that an embedded language model knows, with the key that names each."""
    from genunlearn.lab.lm.world_facts import world_of

    lab = LABS.line(model.removeprefix(LAB), "lm").name
    table = _table("fact id", "fact")
    found = [t for t in world_of(lab).triples if about.casefold() in f"{t.id} {t}".casefold()]
    for triple in found:
        table.add_row(triple.id, str(triple))
    _print(table)
    _print(f"{len(found)} facts in {LAB}{lab}; any of them can be named to `genunlearn forget`")
    _print(f"embedded models: {', '.join(f'{LAB}{name}' for name in LABS)}", soft_wrap=True)


def _stands_for_a_default(name: str) -> bool:
    """Whether `run` would take the name: a method's, behind a suite that has defaults."""
    with suppress(SourceNotFound):
        return "/" in name and bool(read_config(name))
    return False


def show(name: str) -> None:
    """Details of a method, attack, metric, valuation, learner, generator, prompt or configuration, in every family."""
    tables = (METHODS, ATTACKS, METRICS, VALUATIONS, LEARNERS, GENERATORS)
    shown = [(table, line) for table in tables for line in table.lines() if line.is_named(name)]
    for table, line in shown:
        kind = table.load(line)
        about = {
            METHODS: lambda kind: f"{_shape(kind)}; fits {_fits(kind)}",
            ATTACKS: lambda kind: f"attack; fits {_fits(kind)}; {kind().budget}",
            METRICS: lambda kind: f"metric, version {kind.version}",
            VALUATIONS: lambda kind: f"valuation; {kind.paper}",
            LEARNERS: lambda kind: f"learner of tasks; {kind.paper}",
            GENERATORS: lambda kind: f"generator of synthetic rows; {kind.paper}",
        }
        _show_class(kind, about[table](kind))
    if shown:
        return
    if name in list_prompts():
        _print((shipped("prompts") / f"{name}.jinja").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    elif name in list_configs() or _stands_for_a_default(name):
        highlighted = Syntax("", "yaml", background_color="default").highlight(config_text(name))
        _print(highlighted, soft_wrap=True, end="")
    else:
        known = [*(name for table in tables for name in table), *list_prompts(), *list_configs()]
        raise unknown_name("method, attack, metric, prompt or configuration", name, known)


def _show_class(kind: Any, about: str) -> None:
    """What its module says of it, what it says itself, and its fields."""
    _print(f"{kind.name}  ({about})", style="bold", markup=False)
    _print(_flowing(inspect.getdoc(inspect.getmodule(kind)) or ""), markup=False)
    _print(f"\n{_flowing(inspect.getdoc(kind) or '')}", markup=False)
    fields = [*dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    if not fields:
        return
    table = _table("field", "type", "default", "meaning")
    types, noted = typing.get_type_hints(kind), typing.get_type_hints(kind, include_extras=True)
    for field in fields:
        notes = getattr(noted[field.name], "__metadata__", ())
        text = next((note.description for note in notes if getattr(note, "description", None)), "")
        default = repr(field.default) if field.default is not dataclasses.MISSING else "made anew"
        table.add_row(field.name, *map(escape, (inspect.formatannotation(types[field.name]), default, text)))
    _print(table)


def _flowing(text: str) -> str:
    """The lines of each paragraph joined, for the terminal to break; what is indented stays as it is."""
    paragraphs = (paragraph.splitlines() for paragraph in text.split("\n\n"))
    return "\n\n".join(
        "\n".join(lines) if any(line.startswith(" ") for line in lines) else " ".join(lines) for lines in paragraphs
    )
