"""``genunlearn ls ...``: what there is; heavy rooms are imported by the command that needs them."""

from __future__ import annotations

from typing import Annotated

import typer

ls = typer.Typer(help="List what there is.", epilog="Try: genunlearn ls methods", no_args_is_help=True)


@ls.command("methods", epilog="Try: genunlearn show unstar")
def ls_methods() -> None:
    """Methods, the domains they fit and what they need."""
    from genunlearn.cli.listings import methods

    methods()


@ls.command("attacks", epilog="Try: genunlearn show partial_diffusion")
def ls_attacks() -> None:
    """Attacks, the domains they fit and what the attacker has."""
    from genunlearn.cli.listings import attacks

    attacks()


@ls.command("valuations", epilog="Try: genunlearn show ecoval_style")
def ls_valuations() -> None:
    """Valuation methods, and what their values are."""
    from genunlearn.cli.listings import valuations

    valuations()


@ls.command("metrics", epilog="Try: genunlearn run lm/lab/unstar --set evaluate.suite=facts-quick")
def ls_metrics() -> None:
    """Metrics and the suites they are in."""
    from genunlearn.cli.listings import metrics

    metrics()


@ls.command("configs", epilog="Try: genunlearn run lm/lab/unstar")
def ls_configs() -> None:
    """Configurations that are shipped."""
    from genunlearn.cli.listings import configs

    configs()


@ls.command("prompts", epilog="Try: genunlearn show instruct/rationale")
def ls_prompts() -> None:
    """Prompts that are shipped."""
    from genunlearn.cli.listings import prompts

    prompts()


@ls.command("lab", epilog='Try: genunlearn ls lab "harry potter"')
def ls_lab(
    about: Annotated[str, typer.Argument(help="Only facts that contain this.")] = "",
    model: Annotated[str, typer.Option(help="The embedded language model: lab:lm or lab:smollm2.")] = "lab:lm",
) -> None:
    """Embedded models, and the facts that one of them knows."""
    from genunlearn.cli.listings import lab_facts

    lab_facts(about, model)
