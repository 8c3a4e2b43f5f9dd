"""``genunlearn search``: find a small network for pictures, and say what retraining it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from genunlearn.cli.options import Out, Resume, Seed, Set, settings


def search(
    data: Annotated[
        str,
        typer.Option(
            help="lab:digits, made:clips, the CSV file of FER2013, a folder of classes with pictures or clips."
        ),
    ] = "lab:digits",
    forget: Annotated[
        str, typer.Option(help="What it should forget easily: class:3, random:0.1, index:FILE.")
    ] = "class:3",
    order: Annotated[
        str, typer.Option(help="Of the architecture's gradient: first, second; random draws a cell.")
    ] = "first",
    forgettability: Annotated[float, typer.Option(help="Weight of the forgettability term; 0 leaves it out.")] = 0.5,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Search a small network for pictures that forgets easily, and say whether retraining is the better way."""
    from genunlearn.cli.commands import finish, fresh_folder, run_one
    from genunlearn.config import build_config

    given = {
        "task": "search",
        "domain": "classifier",
        "request": {"data": data, "forget": forget},
        "search": {"order": order, "forgettability": forgettability},
    }
    config, out = build_config(given, settings(overrides, seed)), out or fresh_folder("search")
    finish(run_one(config, out, resume), out)
