"""``genunlearn ledger``: the register of requests that ``--ledger FILE`` begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="The register of requests that forget --ledger FILE and erase --ledger FILE keep.",
    epilog="Try: genunlearn ledger verify ledger.jsonl",
    no_args_is_help=True,
)
Ledger = Annotated[Path, typer.Argument(help="The file that was given as --ledger.")]
SEALED = "hmac-sha256:"
DIGITS = 8
TOLD = {"facts": "told", "concepts": "shown"}
"""What models do with what was to be forgotten, by the kind of request."""


@app.command("list", epilog="Try: genunlearn ledger list ledger.jsonl")
def list_entries(
    ledger: Ledger,
    find: Annotated[
        str | None, typer.Option(help="Only requests that name this text as a whole; sealed ones are found as well.")
    ] = None,
) -> None:
    """Print the entries: when, by which method, what was to be forgotten, what came of it, what was undone."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from genunlearn.ledger import find_entries, list_ledger

    entries = list_ledger(ledger) if find is None else find_entries(ledger, find)
    table = Table(
        Column("entry", no_wrap=True), Column("added", no_wrap=True), "method", "request", "outcome", "undone by"
    )
    for entry in entries:
        added = str(entry.get("added") or "")[:16].replace("T", " ")
        cells = [added, entry.get("method"), describe(entry), spoken_outcome(entry), entry.get("undone_by")]
        table.add_row(str(entry["entry"]), *(escape("" if cell is None else str(cell)) for cell in cells))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{len(entries)} entries in {ledger}", soft_wrap=True, markup=False)


@app.command(epilog="Try: genunlearn ledger verify ledger.jsonl")
def verify(ledger: Ledger) -> None:
    """Look for altered, missing, reordered and cut-off entries; exit code 2 where there are any."""
    from genunlearn.errors import DataError
    from genunlearn.ledger import verify_ledger

    found = verify_ledger(ledger)
    for problem in found.problems:
        typer.echo(f"{ledger}{f':{problem.line}' if problem.line else ''}: {problem.kind}: {problem.text}")
    for remark in found.remarks:
        typer.echo(f"{ledger}: {remark}; the next entry mends it")
    if found.problems:
        raise DataError(
            f"{ledger}: {len(found.problems)} problem{'s' * (len(found.problems) > 1)}; put an older copy of the "
            "ledger back, or begin a new one"
        )
    typer.echo(f"{ledger}: whole, {found.entries} entries; last hash {found.last}")


@app.command(epilog='Try: genunlearn ledger undo ledger.jsonl 1 --reason "a mistake"')
def undo(
    ledger: Ledger,
    entry: Annotated[int, typer.Argument(help="Number of the entry (genunlearn ledger list).")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "",
) -> None:
    """Mark an entry as undone, by a new entry: nothing is ever taken out, and no model is changed."""
    from genunlearn.ledger import undo_entry

    added = undo_entry(ledger, entry, reason=reason)
    for remark in added.remarks:
        typer.echo(f"{ledger}: {remark}; mended")
    typer.echo(f"{ledger}: entry {added.entry['entry']} undoes entry {entry}")


def describe(entry: Mapping[str, Any]) -> str:
    """What an entry asks to be forgotten, in a few words; hashes of a sealed one by their first digits."""
    if "undoes" in entry:
        reason = f": {entry['reason']}" if entry.get("reason") else ""
        return f"undoes entry {entry['undoes']}{reason}"
    request = entry.get("request")
    request = request if isinstance(request, Mapping) else {}
    facts = request.get("facts") or request.get("concepts") or request.get("forget") or ()
    named = facts if isinstance(facts, list | tuple) else [facts]
    return "; ".join(_named(one) for one in named if one) or f"{request.get('questions', 'some')} questions"


def spoken_outcome(entry: Mapping[str, Any]) -> str:
    """What a run says of itself; that something is gone only an audit can say, and none is entered."""
    outcome, request = str(entry.get("outcome") or ""), entry.get("request")
    kind = next((kind for kind in TOLD if isinstance(request, Mapping) and request.get(kind)), None)
    if kind is None or outcome not in ("forgotten", "not_forgotten"):
        return outcome.replace("_", " ")
    return f"not {TOLD[kind]}, not audited" if outcome == "forgotten" else f"still {TOLD[kind]}"


def _named(one: Any) -> str:
    parts = [one.get(key) for key in ("subject", "relation", "object")] if isinstance(one, Mapping) else [one]
    return " | ".join(_short(str(part)) for part in parts if part)


def _short(text: str) -> str:
    return f"sealed {text.removeprefix(SEALED)[:DIGITS]}" if text.startswith(SEALED) else text
