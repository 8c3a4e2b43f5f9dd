"""``genunlearn certify`` and ``verify``: a deletion certificate is issued, and checked by whoever gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from genunlearn.cli.options import Set
from genunlearn.errors import RunError

MARKS = {True: "✓", False: "✗", None: "·"}


def certify(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    audit: Annotated[Path | None, typer.Option(help="Folder of the audit of what it has left.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="The ledger that the run is entered in.")] = None,
    sealed: Annotated[bool, typer.Option("--sealed", help="Keyed hashes in place of what was forgotten.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default RUN/certificate.")] = None,
) -> None:
    """Write a deletion certificate: what was asked, hashes, tests with thresholds, verdicts, limits."""
    from genunlearn.runs.certificate.issue import issue, write_certificate

    certificate = issue(run, audit=audit, ledger=ledger, is_sealed=sealed)
    folder = write_certificate(certificate, out or run / "certificate")
    typer.echo(f"certificate: {folder / 'certificate.html'}: {certificate['verdict']}")
    typer.echo(f"hash {certificate['sha256']}; keep it elsewhere, and check with: genunlearn verify {folder}")


def verify(
    certificate: Annotated[Path, typer.Argument(help="Folder of a certificate, or its JSON file.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the run; by default the one around it.")] = None,
    audit: Annotated[Path | None, typer.Option(help="Folder of the audit; by default RUN/audit.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="The ledger.")] = None,
    model: Annotated[str | None, typer.Option(help="The base: lab:NAME, a folder or a hub id.")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Measure again, and compare within the intervals.")] = False,
    overrides: Set = None,
) -> None:
    """Check every hash of a certificate, and with --rerun its numbers; exit code 1 where something does not hold."""
    from genunlearn.engine.progress import Watch
    from genunlearn.runs.certificate.check import Sources, check

    sources = Sources(run=run, audit=audit, ledger=ledger, model=model, overrides=tuple(overrides or ()))
    wrong = looked = 0
    for found in check(certificate, sources, is_rerun=rerun, watch=Watch()):
        text = "".join(letter if letter.isprintable() else " " for letter in found.text)
        typer.echo(f"{MARKS[found.holds]} {text}")
        wrong, looked = wrong + (found.holds is False), looked + (found.holds is not None)
    if wrong:
        raise RunError(f"{certificate}: {wrong} of {looked} things that were checked do not hold")
    typer.echo(f"{certificate}: all {looked} things that were checked hold")


COMMANDS: Mapping[Callable[..., Any], str] = {
    certify: "certify runs/potter --audit runs/potter/audit",
    verify: "verify runs/potter/certificate --model lab:lm",
}
"""The commands, each with an example."""
