"""Entry point: one line on stderr for an error, 2 for bad input, 1 for a run that failed."""

from __future__ import annotations

import errno
import logging
import os
import sys

from genunlearn.cli.app import COMMAND, app
from genunlearn.cli.streams import write_plainly
from genunlearn.errors import GenunlearnError, InputError, RunError
from genunlearn.registry.extras import explain

try:
    from typer.exceptions import TyperException as Usage
except ImportError:  # older releases stand on click
    from click import ClickException as Usage

INTERRUPTED = 130
"""Exit code of a process that was interrupted from the keyboard."""
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What a disk answers that takes nothing more."""
LONGEST_LINE = 1500
"""Characters of a complaint."""


def main() -> None:
    """Carry out the command line and exit."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _silence_libraries()
    for stream in (sys.stdout, sys.stderr):
        write_plainly(stream)
    try:
        code = app(prog_name=COMMAND, standalone_mode=False)
    except Usage as error:
        if message := error.format_message().rstrip("."):  # none where help has been shown instead
            context = getattr(error, "ctx", None)
            _complain(f"{message}: see {context.command_path if context else COMMAND} --help")
        sys.exit(error.exit_code)
    except Exception as error:
        reason = _reason(error)
        if reason is None or os.environ.get("GENUNLEARN_DEBUG"):
            raise
        _complain(str(reason))
        sys.exit(2 if isinstance(reason, InputError) else 1)
    if code == INTERRUPTED:
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        takes_resume = command in ("forget", "erase", "audit", "value", "synthetic", "search", "run", "antisamples")
        _complain("interrupted; --resume goes on with a run" if takes_resume else "interrupted")
    sys.exit(code)


def _reason(error: Exception) -> GenunlearnError | None:
    """What a caller can do about an error; None for a defect of this package."""
    if isinstance(error, GenunlearnError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return explain(error)
    if any(os.strerror(number) in str(error) for number in OF_THE_DISK):  # safetensors has errors of its own for it
        return RunError(f"{str(error).splitlines()[0]}: make room; a run goes on with --resume")
    if isinstance(error, OSError) and error.filename is not None:
        return InputError(f"{error.filename}: {error.strerror}; take another place, or make this one accessible")
    return None


def _complain(message: str) -> None:
    line = " ".join(message.split())
    if len(line) > LONGEST_LINE:  # a name of thousands of characters; what to do stands at the end
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    print(f"{COMMAND}: {line}", file=sys.stderr)


def _silence_libraries() -> None:
    """Keep remarks of libraries to those who call them, such as one about a faster kernel, off the terminal."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
