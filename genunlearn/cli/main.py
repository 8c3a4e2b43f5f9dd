"""All commands; heavy rooms are imported by the command that needs them."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from genunlearn.cli.streams import write_plainly
from genunlearn.errors import GenunlearnError, InputError

COMMAND = "genunlearn"
INTERRUPTED = 130
"""Exit code of a process that was interrupted from the keyboard."""

app = typer.Typer(
    name=COMMAND,
    help="Make generative models forget, and prove what they still know.",
    epilog='Try: genunlearn forget --model lab:lm --fact "Harry Potter | studied at | Hogwarts"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ls = typer.Typer(help="List what there is.", epilog="Try: genunlearn ls methods", no_args_is_help=True)
lab = typer.Typer(help="The embedded models.", epilog="Try: genunlearn lab build lm", no_args_is_help=True)
app.add_typer(ls, name="ls")
app.add_typer(lab, name="lab")

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override the configuration.")
]
Out = Annotated[Path | None, typer.Option(help="Output folder; by default a new one under runs/.")]
Resume = Annotated[bool, typer.Option(help="Go on with the run that was interrupted in --out.")]
PipelineName = Annotated[str, typer.Option(help="lab:diffusion, a pipeline folder in the hub's format, or a hub id.")]
ModelName = Annotated[str, typer.Option(help="lab:lm, lab:smollm2, a folder in the hub's format, or a hub id.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option(help="Show a traceback when something fails.")] = False) -> None:
    """Make generative models forget, and prove what they still know."""
    if debug:
        os.environ["GENUNLEARN_DEBUG"] = "1"


@app.command(epilog='Try: genunlearn forget --model lab:lm --fact "Harry Potter | studied at | Hogwarts"')
def forget(
    model: ModelName = "lab:lm",
    fact: Annotated[list[str] | None, typer.Option(help='"subject | relation | object"; may be repeated.')] = None,
    question: Annotated[
        str | None, typer.Option(help="The question that the fact answers (not needed in the lab).")
    ] = None,
    facts: Annotated[Path | None, typer.Option(help="Facts as JSON lines or CSV, instead of --fact.")] = None,
    retain: Annotated[Path | None, typer.Option(help="Questions and answers that must stay, as JSON lines.")] = None,
    method: Annotated[str, typer.Option(help="Name of the method (genunlearn ls methods).")] = "unstar",
    compare: Annotated[str, typer.Option(help="Further methods to run beside it, separated by commas.")] = "",
    antisamples: Annotated[Path | None, typer.Option(help="Train on these reviewed anti-samples.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="Add the finished run to this ledger of requests.")] = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Make a language model forget one or more facts, and report what went and what stayed."""
    from genunlearn.cli.commands import forget as command

    sets = list(overrides or ())
    if antisamples is not None:
        sets.append(f"method.antisamples={antisamples.resolve()}")
    methods = [method, *filter(None, compare.split(","))]
    request = {"facts": tuple(fact or ()), "question": question, "file": _text(facts), "retain": _text(retain)}
    command(model, request, methods, out=out, resume=resume, overrides=sets, ledger=ledger)


@app.command(epilog='Try: genunlearn erase --model lab:diffusion --concept "digit seven" --method uce')
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
    ledger: Annotated[Path | None, typer.Option(help="Add the finished run to this ledger of requests.")] = None,
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Make a text-to-image pipeline forget one or more concepts, and show what went and what stayed."""
    from genunlearn.cli.images import erase as command

    command(
        model,
        list(concept or ()),
        list(preserve or ()),
        [method, *filter(None, compare.split(","))],
        export=export,
        out=out,
        resume=resume,
        overrides=list(overrides or ()),
        ledger=ledger,
    )


@app.command(epilog='Try: genunlearn audit --unlearned runs/carmen --fact "Carmen | created by | Georges Bizet"')
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
        overrides=list(overrides or ()),
    )


@app.command(epilog='Try: genunlearn sample --model lab:diffusion --prompt "a red digit seven" --grid seven.png')
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
    force: Annotated[bool, typer.Option("--force", help="Take a patch whose bytes were changed.")] = False,
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


@app.command(epilog="Try: genunlearn run lm/lab/unstar --set seed=1")
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one (genunlearn ls configs).")],
    out: Out = None,
    resume: Resume = False,
    antisamples: Annotated[Path | None, typer.Option(help="Train on these reviewed anti-samples.")] = None,
    overrides: Set = None,
) -> None:
    """Carry out one configuration."""
    from genunlearn.cli.commands import run as command

    sets = list(overrides or ())
    if antisamples is not None:
        sets.append(f"method.antisamples={antisamples.resolve()}")
    command(config, out=out, resume=resume, overrides=sets)


@app.command(epilog="Try: genunlearn antisamples lm/lab/unstar")
def antisamples(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    out: Out = None,
    resume: Resume = False,
    overrides: Set = None,
) -> None:
    """Only write what the model would be taught, for review; `run --antisamples FILE` goes on from there."""
    from genunlearn.cli.commands import antisamples as command

    command(config, out=out, resume=resume, overrides=list(overrides or ()))


@app.command(epilog="Try: genunlearn oracle lm/tofu/npo --set oracle.base=BASE --set request.path=FOLDER")
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
        Path | None, typer.Option(help="A run's OUT/patch; answers before and after side by side.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Load a patch that was changed, or made for other base weights.")
    ] = False,
) -> None:
    """Ask a model, and the patched model beside it."""
    from genunlearn.cli.commands import ask as command

    command(model, questions, patch, force=force)


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

    command(config, list(overrides or ()))


@app.command(epilog="Try: genunlearn show unstar")
def show(
    name: Annotated[str, typer.Argument(help="A method, attack, metric, prompt or shipped configuration.")],
) -> None:
    """Show fields, defaults, equation and paper of a method or attack; the text of a prompt or configuration."""
    from genunlearn.cli.listings import show as command

    command(name)


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


@lab.command("build", epilog="Try: genunlearn lab build lm")
def lab_build(
    name: Annotated[str, typer.Argument(help="Name of the embedded model.")] = "lm",
    without: Annotated[
        list[str] | None, typer.Option(help="A fact that an oracle never sees; may be repeated.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Build even if it is cached.")] = False,
) -> None:
    """Build an embedded model (or an oracle without some facts) into the cache, and print its folder."""
    from genunlearn.cli.commands import lab_build as command

    command(name, list(without or ()), force)


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _silence_libraries() -> None:
    """Keep remarks of libraries to those who call them, such as one about a faster kernel, off the terminal."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)


def main() -> None:
    """Entry point: one line on stderr for an error, 2 for bad input, 1 for a run that failed."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _silence_libraries()
    for stream in (sys.stdout, sys.stderr):
        write_plainly(stream)
    try:
        code = app(prog_name=COMMAND, standalone_mode=False)
    except TyperException as error:
        if message := error.format_message().rstrip("."):  # none where help has been shown instead
            context = getattr(error, "ctx", None)
            _complain(f"{message}: see {context.command_path if context else COMMAND} --help")
        sys.exit(error.exit_code)
    except GenunlearnError as error:
        if os.environ.get("GENUNLEARN_DEBUG"):
            raise
        _complain(str(error))
        sys.exit(2 if isinstance(error, InputError) else 1)
    if code == INTERRUPTED:
        takes_resume = any(word in sys.argv[1:3] for word in ("forget", "erase", "audit", "run", "antisamples"))
        _complain("interrupted; --resume goes on with a run" if takes_resume else "interrupted")
    sys.exit(code)


def _complain(message: str) -> None:
    print(f"{COMMAND}: {' '.join(message.split())}", file=sys.stderr)
