"""``genunlearn ls``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="List what there is.", epilog="Try: genunlearn ls methods", no_args_is_help=True)


@app.command(epilog="Try: genunlearn show unstar")
def methods() -> None:
    """Methods, the kinds of model they fit and what they need."""
    from genunlearn.cli.listings import methods

    methods()


@app.command(epilog="Try: genunlearn show partial_diffusion")
def attacks() -> None:
    """Attacks, the kinds of model they fit and what the attacker has."""
    from genunlearn.cli.listings import attacks

    attacks()


@app.command(epilog="Try: genunlearn show ecoval_style")
def valuations() -> None:
    """Valuation methods, and what their values are."""
    from genunlearn.cli.listings import valuations

    valuations()


@app.command(epilog="Try: genunlearn show uniclun")
def learners() -> None:
    """Learners of tasks, and whether they forget by a loss of their own."""
    from genunlearn.cli.listings import learners

    learners()


@app.command(epilog="Try: genunlearn show gaussian_copula")
def generators() -> None:
    """Generators of synthetic rows."""
    from genunlearn.cli.listings import generators

    generators()


@app.command(epilog="Try: genunlearn run lm/lab/unstar --set evaluate.suite=facts-quick")
def metrics() -> None:
    """Metrics and the suites they are in."""
    from genunlearn.cli.listings import metrics

    metrics()


@app.command(epilog="Try: genunlearn run lm/lab/unstar")
def configs() -> None:
    """Configurations that are shipped."""
    from genunlearn.cli.listings import configs

    configs()


@app.command(epilog="Try: genunlearn show instruct/rationale")
def prompts() -> None:
    """Prompts that are shipped."""
    from genunlearn.cli.listings import prompts

    prompts()


@app.command(epilog='Try: genunlearn ls lab "harry potter"')
def lab(
    about: Annotated[str, typer.Argument(help="Only facts that contain this.")] = "",
    model: Annotated[str, typer.Option(help="The embedded language model: lab:lm or lab:smollm2.")] = "lab:lm",
) -> None:
    """Embedded models, and the facts that one of them knows."""
    from genunlearn.cli.listings import lab_facts

    lab_facts(about, model)
