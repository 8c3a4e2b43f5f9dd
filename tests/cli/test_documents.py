"""Commands in the documents: each is one that the command line takes, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from genunlearn.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(text: str) -> list[str]:
    """Calls of genunlearn in code, fenced or indented; lines that go on behind a backslash are joined."""
    found, is_fenced = list[str](), False
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        is_fenced ^= line.startswith("```")
        if (is_fenced or line.startswith("    ")) and line.strip().startswith("genunlearn "):
            found.append(line.strip())
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_is_understood(document: Path) -> None:
    for line in commands_of(document.read_text(encoding="utf-8")):
        command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
        context = click.Context(command)
        while isinstance(command, click.Group):
            found = command.get_command(context, words[0])
            assert found is not None, f"{line}: no command {words[0]!r}"
            command, words = found, words[1:]
        try:
            command.make_parser(context).parse_args([*words])
            command.make_context(line, words)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")
