"""``genunlearn patch``: what can be done with the patch that a run has left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genunlearn.cli.options import Force

app = typer.Typer(
    help="Put patches on a model, take them off, make one of several, compare two.",
    epilog="Try: genunlearn patch merge runs/potter --model lab:lm --out merged",
    no_args_is_help=True,
)
PatchPath = Annotated[Path, typer.Argument(help="A run's folder, or its patch (OUT/patch).")]
PatchPaths = Annotated[
    list[Path], typer.Argument(help="Runs' folders, or their patches, in the order in which they are put on.")
]
BaseModel = Annotated[str, typer.Option(help="The model that they were made for: lab:NAME, a folder or a hub id.")]
NewFolder = Annotated[Path, typer.Option(help="Folder to write; it must not be there yet.")]


@app.command(epilog="Try: genunlearn patch apply runs/potter --model lab:lm --out patched")
def apply(patch: PatchPath, model: BaseModel, out: NewFolder, force: Force = False) -> None:
    """Write a folder with a language model and a patch beside its weights; transformers opens it patched."""
    from genunlearn.cli.patching import apply as work

    typer.echo(f"written: {work(patch, model, out, force=force)}")
    typer.echo(f"genunlearn patch detach {out} takes the patch off again")


@app.command(epilog="Try: genunlearn patch detach patched")
def detach(
    folder: Annotated[Path, typer.Argument(help="What genunlearn patch apply has written.")], force: Force = False
) -> None:
    """Take the patch off such a folder again: what stays is the model as it was, bit for bit."""
    from genunlearn.cli.patching import detach as work

    typer.echo(f"{folder}: without the patch; hash of its weights {work(folder, force=force)}")


@app.command(epilog="Try: genunlearn patch merge runs/potter --model lab:lm --out merged")
def merge(patches: PatchPaths, model: BaseModel, out: NewFolder, force: Force = False) -> None:
    """Write the whole model with patches folded into its weights; of language models and of pipelines."""
    from genunlearn.cli.patching import merge as work

    typer.echo(f"written: {work(patches, model, out, force=force)}")


@app.command(epilog="Try: genunlearn patch stack runs/potter runs/carmen --model lab:lm --out both")
def stack(patches: PatchPaths, model: BaseModel, out: NewFolder, force: Force = False) -> None:
    """Write one patch that does what several do; its note lists them in order."""
    from genunlearn.cli.patching import stack_patches

    sha256 = stack_patches(patches, model, out, force=force)
    typer.echo(f"written: {out}, {len(patches)} patches in one; hash {sha256}")


@app.command(epilog="Try: genunlearn patch diff runs/potter runs/carmen")
def diff(first: PatchPath, second: PatchPath, force: Force = False) -> None:
    """Say in what two patches of language models differ: layers, ranks, and by how much in each layer."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from genunlearn.cli.patching import language_patch
    from genunlearn.engine.patches import difference

    found = difference(language_patch(first), language_patch(second), force=force)
    table = Table(Column("layer", overflow="fold"), "ranks", "norm of first", "of second", "of the difference")
    for one in found.layers:
        ranks = " / ".join("-" if rank is None else str(rank) for rank in one.ranks)
        table.add_row(escape(one.layer), ranks, *(f"{value:.4g}" for value in (*one.norms, one.difference)))
    Console(highlight=False).print(table)
    for side, path in enumerate((first, second)):
        if names := found.only(side):
            typer.echo(f"only in {path}: {len(names)} layers, such as {names[0]}")
    if all(found.bases) and found.bases[0] != found.bases[1]:
        typer.echo(f"made for different bases: {found.bases[0][:12]} and {found.bases[1][:12]}")
    typer.echo(f"norm of the difference over all {len(found.layers)} layers: {found.norm:.4g}")
