"""What every command says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
import typer

import genunlearn
from genunlearn.cli.app import app


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_ends_in_a_line_to_copy_whole_at_80_columns(call, monkeypatch, path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    *_, last = [line.strip() for line in call(*path, "--help").out.splitlines() if line.strip()]
    assert last == ALL[path].epilog and last.startswith("Try: genunlearn ")
    named = shlex.split(last)[2:]
    while tuple(named) not in ALL:  # options and arguments
        named = named[:-1]
    assert tuple(named), "the line begins with no command"
    options = {name for parameter in ALL[tuple(named)].params for name in parameter.opts}
    assert {word for word in shlex.split(last) if word.startswith("--")} <= options


def test_the_version_is_printed(call) -> None:
    assert call("--version").out == f"genunlearn {genunlearn.__version__}\n"
