"""All commands; heavy rooms are imported by the command that needs them."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from genunlearn.cli import certificate as certificates
from genunlearn.cli import ledger as ledgers
from genunlearn.cli import ls, tables
from genunlearn.cli import patch as patches
from genunlearn.cli import search as searches
from genunlearn.cli.options import (
    Force,
    LedgerFile,
    ModelName,
    Out,
    PipelineName,
    Resume,
    Sealed,
    Seed,
    Set,
    settings,
)

COMMAND = "genunlearn"

app = typer.Typer(
    name=COMMAND,
    help="Make generative models forget, and prove what they still know.",
    epilog='Try: genunlearn forget --fact "Harry Potter | studied at | Hogwarts"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
lab = typer.Typer(help="The embedded models.", epilog="Try: genunlearn lab build lm", no_args_is_help=True)
for name, part in (("ls", ls.app), ("lab", lab), ("ledger", ledgers.app), ("patch", patches.app)):
    app.add_typer(part, name=name)
for command, example in certificates.COMMANDS.items():
    app.command(epilog=f"Try: genunlearn {example}")(command)
app.command("search", epilog="Try: genunlearn search --data lab:digits --forget class:3")(searches.search)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{COMMAND} {version(COMMAND)}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    shows_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make generative models forget, and prove what they still know."""
    if debug:
        os.environ["GENUNLEARN_DEBUG"] = "1"


@app.command(epilog='Try: genunlearn forget --fact "Harry Potter | studied at | Hogwarts"')
def forget(
    model: ModelName = "lab:lm",
    fact: Annotated[list[str] | None, typer.Option(help='"subject | relation | object"; may be repeated.')] = None,
    question: Annotated[str | None, typer.Option(help="The question that the fact answers (not in the lab).")] = None,
    facts: Annotated[Path | None, typer.Option(help="Facts as JSON lines or CSV, instead of --fact.")] = None,
    retain: Annotated[Path | None, typer.Option(help="Questions and answers that must stay, as JSON lines.")] = None,
    method: Annotated[str, typer.Option(help="Name of the method (genunlearn ls methods).")] = "unstar",
    compare: Annotated[str, typer.Option(help="Further methods to run beside it, separated by commas.")] = "",
    antisamples: Annotated[Path | None, typer.Option(help="Train on these reviewed anti-samples.")] = None,
    neutral: Annotated[
        Path | None, typer.Option(help="Plain texts about other things, one a line, to measure perplexity on.")
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Then attack what is left: is the fact gone, or only hidden?")
    ] = False,
    on: Annotated[
        Path | None, typer.Option(help="An earlier run: its patch stays on, and what it removed is asked again.")
    ] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="One request a fact, in their order.")] = False,
    ledger: LedgerFile = None,
    sealed: Sealed = False,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Make a language model forget one or more facts, and report what went and what stayed."""
    from genunlearn.cli.commands import Register, audit_forgotten, fresh_folder
    from genunlearn.cli.commands import forget as command

    sets = settings(overrides, seed)
    if antisamples is not None:
        sets.append(f"method.antisamples={antisamples.resolve()}")
    if on is not None:
        sets.append(f"on={on.resolve()}")
    methods = [method, *filter(None, compare.split(","))]
    request = {"facts": tuple(fact or ()), "question": question, "file": _text(facts)}
    request |= {"retain": _text(retain), "neutral": _text(neutral)}
    out, register = out or fresh_folder("forget"), Register(ledger, sealed)
    if sequential:
        from genunlearn.cli.sequence import forget_in_order

        out = forget_in_order(model, request, methods, out=out, resume=resume, overrides=sets, register=register)
    else:
        command(model, request, methods, out=out, resume=resume, overrides=sets, register=register)
    if audit:
        audit_forgotten(model, request, methods, out=out, resume=resume, overrides=sets)


@app.command(epilog='Try: genunlearn erase --concept "digit seven" --method uce')
def erase(
    model: PipelineName = "lab:diffusion",
    concept: Annotated[
        list[str] | None, typer.Option(help='"name", "name | synonym" or "name -> anchor"; may be repeated.')
    ] = None,
    preserve: Annotated[
        list[str] | None, typer.Option(help="A concept that must stay; may be repeated. In the lab all others do.")
    ] = None,
    method: Annotated[str, typer.Option(help="Name of the method (genunlearn ls methods).")] = "esd",
    compare: Annotated[str, typer.Option(help="Further methods to run beside it, separated by commas.")] = "",
    export: Annotated[
        str, typer.Option(help="lora, kohya, delta, unet, pipeline; auto takes the smallest exact form.")
    ] = "auto",
    ledger: LedgerFile = None,
    sealed: Sealed = False,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Make a text-to-image pipeline forget one or more concepts, and show what went and what stayed."""
    from genunlearn.cli.commands import Register
    from genunlearn.cli.images import erase as command

    command(
        model,
        list(concept or ()),
        list(preserve or ()),
        [method, *filter(None, compare.split(","))],
        export=export,
        out=out,
        resume=resume,
        overrides=settings(overrides, seed),
        register=Register(ledger, sealed),
    )


@app.command(epilog="Try: genunlearn audit --unlearned runs/carmen --fact carmen.created-by")
def audit(
    unlearned: Annotated[str, typer.Option(help="Model folder, hub id, patch, or the folder of a run.")],
    original: Annotated[
        str | None, typer.Option(help="Hub id, local folder or lab model; by default lab:lm or lab:diffusion.")
    ] = None,
    oracle: Annotated[
        str | None, typer.Option(help="A model that never knew it; auto retrains the lab; never: none.")
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option(help='Of a language model, said to be gone: "subject | relation | object" or a lab fact id.'),
    ] = None,
    facts: Annotated[Path | None, typer.Option(help="File of such facts, JSON lines or CSV.")] = None,
    question: Annotated[str | None, typer.Option(help="The question that a single fact answers.")] = None,
    concept: Annotated[
        list[str] | None, typer.Option(help='Of a pipeline, said to be gone: "name" or "name | synonym".')
    ] = None,
    retain: Annotated[
        list[str] | None, typer.Option(help="A concept that should have stayed; may be repeated.")
    ] = None,
    suite: Annotated[str, typer.Option(help="quick or full; for pipelines also paper.")] = "quick",
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Say whether facts or concepts are gone from an unlearned model, or only hidden."""
    from genunlearn.cli.commands import audit as command

    request = {
        "facts": tuple(fact or ()),
        "file": str(facts) if facts else None,
        "question": question,
        "concepts": tuple(concept or ()),
        "retain": tuple(retain or ()),
    }
    command(
        unlearned,
        request,
        original=original,
        oracle=oracle,
        suite=suite,
        out=out,
        resume=resume,
        overrides=settings(overrides, seed),
    )


@app.command(epilog="Try: genunlearn value --data lab:digits --request class:3 --request random:0.1")
def value(
    model: Annotated[
        str,
        typer.Option(help="What is taught: sklearn:linear, sklearn:forest, sklearn:neighbour, lab:digits, a folder."),
    ] = "sklearn:linear",
    data: Annotated[
        str | None, typer.Option(help="lab:NAME, sklearn:NAME, or a folder with train and test; a lab brings its own.")
    ] = None,
    request: Annotated[
        list[str] | None, typer.Option(help="A set whose cost is asked: class:3, random:0.1, index:FILE. Repeat it.")
    ] = None,
    method: Annotated[str, typer.Option(help="Name of the method (genunlearn ls valuations).")] = "ecoval_style",
    compare: Annotated[str, typer.Option(help="Further methods to run beside it, separated by commas.")] = "",
    level: Annotated[str, typer.Option(help="Who is valued: items, clusters or requests.")] = "items",
    limit: Annotated[int | None, typer.Option(help="Value only so many items, drawn by the seed.")] = None,
    unlearned: Annotated[
        Path | None, typer.Option(help="A run that forgot some of these data: are they worth nothing now?")
    ] = None,
    domain: Annotated[str, typer.Option(help="classifier or regression.")] = "classifier",
    seed: Seed = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Say what training items are worth, what forgetting some would cost, and which few would do for repair."""
    from genunlearn.cli.commands import value as command

    asked = {"data": data, "requests": tuple(request or ()), "level": level, "limit": limit}
    command(
        model,
        {**asked, "unlearned": _text(unlearned)},
        [method, *filter(None, compare.split(","))],
        domain=domain,
        out=out,
        resume=resume,
        overrides=settings(overrides, seed),
    )


app.command(epilog="Try: genunlearn synthetic --data sklearn:wine --compare bootstrap")(tables.synthetic)


@app.command(epilog='Try: genunlearn sample --prompt "a red digit seven" --grid seven.png')
def sample(
    prompt: Annotated[list[str], typer.Option(help="A prompt; may be repeated, one row of the grid each.")],
    model: PipelineName = "lab:diffusion",
    patch: Annotated[
        list[Path] | None,
        typer.Option(help="A run's folder, a LoRA or a checkpoint, drawn beside the original. May be repeated."),
    ] = None,
    grid: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("grid.png"),
    images: Annotated[int, typer.Option(min=1, help="Images of each prompt.")] = 6,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=0, help="Scale of guidance.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the first image; the next has the next one.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over a grid that is there.")] = False,
    force: Force = False,
) -> None:
    """Draw images of prompts, with the same seeds by the original and by patched pipelines."""
    from genunlearn.cli.images import sample as command

    command(
        model,
        prompt,
        list(patch or ()),
        grid,
        images=images,
        steps=steps,
        guidance=guidance,
        seed=seed,
        overwrite=overwrite,
        force=force,
    )


@app.command(epilog="Try: genunlearn run lm/lab/unstar --set train.learning_rate=0.002")
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one (genunlearn ls configs).")],
    out: Out = None,
    resume: Resume = False,
    antisamples: Annotated[Path | None, typer.Option(help="Train on these reviewed anti-samples.")] = None,
    seed: Seed = None,
    overrides: Set = None,
) -> None:
    """Carry out one configuration."""
    from genunlearn.cli.commands import run as command

    sets = settings(overrides, seed)
    if antisamples is not None:
        sets.append(f"method.antisamples={antisamples.resolve()}")
    command(config, out=out, resume=resume, overrides=sets)


@app.command(epilog="Try: genunlearn antisamples lm/lab/unstar")
def antisamples(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    out: Out = None,
    resume: Resume = False,
    seed: Seed = None,
    overrides: Set = None,
) -> None:
    """Only write what the model would be taught, for review; `run --antisamples FILE` goes on from there."""
    from genunlearn.cli.commands import antisamples as command

    command(config, out=out, resume=resume, overrides=settings(overrides, seed))


@app.command(epilog="Try: genunlearn oracle lm/tofu/npo --set oracle.base=BASE")
def oracle(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    original: Annotated[bool, typer.Option("--original", help="Train on the forget set too.")] = False,
    overrides: Set = None,
) -> None:
    """Fine-tune oracle.base on what must stay, and print the folder of the model: it never saw what is forgotten."""
    from genunlearn.cli.commands import oracle as command

    command(config, list(overrides or ()), original=original)


@app.command(epilog='Try: genunlearn ask --model lab:lm "Where did Harry Potter study?"')
def ask(
    questions: Annotated[list[str], typer.Argument(help="One or more questions.")],
    model: ModelName = "lab:lm",
    patch: Annotated[
        Path | None, typer.Option(help="A run's folder, or its patch; answers before and after side by side.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each question.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="0 gives the likeliest answer, 1 samples as the model would; 0 for a single answer."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    quantize: Annotated[str | None, typer.Option(help="nf4 or none; by default as the patch was trained.")] = None,
    force: Force = False,
) -> None:
    """Ask a model, and the patched model beside it."""
    from genunlearn.cli.commands import ask as command

    command(model, questions, patch, quantize, samples=samples, temperature=temperature, seed=seed, force=force)


@app.command(epilog="Try: genunlearn compare runs/unstar runs/npo --out runs/comparison")
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    out: Annotated[Path, typer.Option(help="Folder for compare.html and compare.md.")] = Path("runs/comparison"),
) -> None:
    """Put several runs into one table and one plot."""
    from genunlearn.cli.commands import compare as command

    command(folders, out)


@app.command(epilog="Try: genunlearn report runs/potter")
def report(folder: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write the report of a run anew from its record."""
    from genunlearn.cli.commands import report as command

    command(folder)


@app.command(epilog="Try: genunlearn check lm/lab/unstar")
def check(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    overrides: Set = None,
) -> None:
    """Check a configuration and its request without loading weights."""
    from genunlearn.cli.commands import check as command

    command(config, settings(overrides))


@app.command(epilog="Try: genunlearn show unstar")
def show(
    name: Annotated[str, typer.Argument(help="A method, attack, metric, prompt or shipped configuration.")],
) -> None:
    """Show fields, defaults, equation and paper of a method or attack; the text of a prompt or configuration."""
    from genunlearn.cli.listings import show as command

    command(name)


@lab.command("build", epilog="Try: genunlearn lab build lm")
def lab_build(
    name: Annotated[str, typer.Argument(help="Name of the embedded model.")] = "lm",
    without: Annotated[
        list[str] | None, typer.Option(help="A fact that an oracle never sees; may be repeated.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even if it is cached.")] = False,
) -> None:
    """Build an embedded model (or an oracle without some facts) into the cache, and print its folder."""
    from genunlearn.cli.commands import lab_build as command

    command(name, list(without or ()), force)


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
