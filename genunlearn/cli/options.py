"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one value of the configuration; may be repeated."),
]
Out = Annotated[Path | None, typer.Option(help="Output folder; by default a new one under runs/.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that was interrupted in --out.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random, as --set seed=N; 0 by default.")]
Force = Annotated[bool, typer.Option("--force", help="Take a patch that was changed, or made for another base.")]
LedgerFile = Annotated[Path | None, typer.Option("--ledger", help="Add the finished run to this ledger of requests.")]
Sealed = Annotated[
    bool, typer.Option("--sealed", help="In the ledger, keep keyed hashes in place of what is to be forgotten.")
]
PipelineName = Annotated[str, typer.Option(help="lab:diffusion, a pipeline folder in the hub's format, or a hub id.")]
ModelName = Annotated[str, typer.Option(help="lab:lm, lab:smollm2, a folder in the hub's format, or a hub id.")]


def settings(overrides: Sequence[str] | None, seed: int | None = None) -> list[str]:
    """What was given with ``--set``, and the seed."""
    return [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])]
