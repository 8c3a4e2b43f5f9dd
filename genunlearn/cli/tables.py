"""``genunlearn synthetic``: how good synthetic rows are, and whether they give forgotten ones away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from genunlearn.cli.options import Out, Resume, Seed, Set, settings


def synthetic(
    data: Annotated[
        str,
        typer.Option(help="sklearn:NAME (breast_cancer, diabetes, iris, wine), or a CSV, JSON lines or Parquet file."),
    ] = "sklearn:wine",
    target: Annotated[
        str | None, typer.Option(help="Column that is predicted; else target, label, class or y.")
    ] = None,
    method: Annotated[str, typer.Option(help="Name of the generator (genunlearn ls generators).")] = "gaussian_copula",
    compare: Annotated[str, typer.Option(help="Further generators to run beside it, separated by commas.")] = "",
    synthetic: Annotated[
        Path | None, typer.Option(help="A file of synthetic rows from elsewhere, in place of a generator.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option(help="Rows to forget: random:0.1 (the default), class:NAME, range:..75, index:FILE.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="A column to leave out, such as a name; may be repeated.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="A column of numbers that are categories; may be repeated.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="classifier or regression; by default what the target looks like.")
    ] = None,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Say how good synthetic rows are in place of a table's, and whether they give away rows to be forgotten."""
    asked = {"data": data, "target": target, "forget": forget, "drop": drop, "categories": category}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items() if value}
    methods = [method, *filter(None, compare.split(","))]
    _run(given, methods, synthetic, domain=domain, out=out, resume=resume, overrides=settings(overrides, seed))


def _run(
    asked: dict[str, Any],
    methods: Sequence[str],
    file: Path | None,
    *,
    domain: str | None,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
) -> None:
    from genunlearn.cli.commands import UNREGISTERED, fresh_folder, run_beside
    from genunlearn.registry import GENERATORS
    from genunlearn.runs.network.synthetic import synthetic_config

    names = [GENERATORS.line(name.strip(), "network").name for name in methods]
    if file is not None:
        names = ["given", *names[1:]]
    configs = {
        name: synthetic_config(asked, method=name, file=file, domain=domain, overrides=overrides)
        for name in dict.fromkeys(names)
    }
    run_beside(configs, out or fresh_folder("synthetic"), resume=resume, register=UNREGISTERED)
