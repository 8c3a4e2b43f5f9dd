"""The command line: ``genunlearn ...``, ``python -m genunlearn ...``, ``accelerate launch -m genunlearn ...``."""

from genunlearn.cli.main import main

__all__ = ["main"]
