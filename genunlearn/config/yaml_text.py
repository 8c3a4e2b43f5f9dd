"""YAML text as data: read to the end, or refused before it can take long."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

DEEPEST = 32
"""Lists and mappings within each other; a configuration has four."""

MOST_VALUES = 100_000
"""Values in a text, those that an alias repeats counted each time."""

_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What ruamel.yaml raises of a date that is none, base64 that is none, a number of 5,000 digits, and its like."""


class NotYaml(ValueError):
    """A text that is not read, and why.

    Attributes:
        line: Where, counted from 1; None where that is not known.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(" ".join(reason.split())[:300])
        self.line = line


def yaml() -> YAML:
    """Reads and writes YAML 1.2, and keeps lines and comments."""
    return YAML(typ="rt", pure=True)


def load_yaml(text: str) -> Any:
    """The data of one document.

    Raises:
        NotYaml: The text is no YAML, holds a value that its tag does not allow, is nested more than `DEEPEST` levels,
            or stands for more than `MOST_VALUES` values.
    """
    try:
        _check_size(text)
        return yaml().load(text)
    except NotYaml:
        raise
    except DuplicateKeyError as error:
        raise NotYaml(f"{error.problem.split(' with value')[0]}: keep one of the two", _line(error)) from None
    except MarkedYAMLError as error:
        raise NotYaml(f"not YAML: {error.problem}", _line(error) or 1) from None
    except (YAMLError, *_FAILURES) as error:
        raise NotYaml(f"not YAML: {str(error) or type(error).__name__}") from None


def _line(error: MarkedYAMLError) -> int | None:
    return error.problem_mark.line + 1 if error.problem_mark else None


def _check_size(text: str) -> None:
    """Refuse what would not come to an end: the parser's events come one by one, before anything is built of them."""
    counted = 0
    open_ones: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    for event in yaml().parse(io.StringIO(text)):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_ones):
                raise NotYaml(f"alias *{event.anchor} stands within what it repeats: write the values out", line)
            counted += sizes.get(event.anchor, 0)
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_ones.pop()
            sizes[anchor] = counted - before
        elif isinstance(event, NodeEvent):
            counted += 1
            getattr(event, "value", "").encode()  # half of a surrogate pair could not be written down again
        if isinstance(event, CollectionStartEvent):
            open_ones.append((event.anchor, counted))
        if len(open_ones) > DEEPEST:
            raise NotYaml(f"nested more than {DEEPEST} levels: a configuration is a mapping of sections", line)
        if counted > MOST_VALUES:
            raise NotYaml(f"more than {MOST_VALUES} values, aliases included: write out what is meant", line)
