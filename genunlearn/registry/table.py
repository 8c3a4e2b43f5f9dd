"""A lazy name table: a name stands for ``module:attribute``, which is imported when it is first asked for.

Adding a method is one line in `METHODS`. Names are unique within a family of models (``relearning`` of ``lm`` and of
``network`` live side by side); what stands under ``""`` is for every family. Another package adds its own through entry
points, without touching this one::

    [project.entry-points."genunlearn.methods"]
    my_method = "my_package.my_method:MyMethod"          # for every family that it fits
    "lm/other" = "my_package.other:Other"                # for language models

Names are compared without case, hyphens and underscores: ``GradDiff`` and ``grad-diff`` find ``grad_diff``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from genunlearn.errors import InputError, MismatchError, NameNotFound, NeedNotMet
from genunlearn.registry.extras import EXTRAS, remedy

PACKAGE = "genunlearn"
MOST_NAMED = 60
"""More names than these would bury the near matches of an unknown one."""
MOST_NEAR = 5
"""Names that are offered in place of one that another family has."""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        name: The canonical name, as records and reports write it.
        target: Where it is found, ``"package.module:attribute"``.
        owner: The distribution that brought it, for errors that must name one.
        family: Family of models that it is for; empty for every one.
    """

    name: str
    target: str
    owner: str
    family: str = ""

    def is_named(self, name: str) -> bool:
        """Whether `name` means it, in any spelling."""
        return _folded(self.name) == _folded(name)

    def __str__(self) -> str:
        return f"{self.name!r} of {self.owner} ({self.target})"


class Table:
    """Names of one kind of thing, and where each is found.

    Plug-ins of the entry-point group ``genunlearn.<kinds>`` are read when the table is first used.
    """

    def __init__(self, kind: str, lines: Mapping[str, Mapping[str, str]], *, is_global: bool = False) -> None:
        """Take ``{family: {name: target}}``; `is_global` where a name alone has to say which family is meant."""
        self.kind, self._is_global = kind, is_global
        self.group = f"{PACKAGE}.{_plural(kind)}"
        self._lines: dict[tuple[str, str], Line] = {}
        self._knows_plugins = False
        for family, targets in lines.items():
            for name, target in targets.items():
                self._add(Line(name, target, PACKAGE, family))

    def lines(self, family: str | None = None) -> tuple[Line, ...]:
        """Every line, or those that a family may use, by name; nothing is imported."""
        self._read_plugins()
        fitting = (line for line in self._lines.values() if family is None or line.family in ("", family))
        return tuple(sorted(fitting, key=lambda line: (line.name, line.family)))

    def names(self, family: str | None = None) -> tuple[str, ...]:
        """Every known name, or those that a family may use, sorted; nothing is imported."""
        return tuple(dict.fromkeys(line.name for line in self.lines(family)))

    def line(self, name: str, family: str | None = None) -> Line:
        """The line of `name`, with its canonical spelling; nothing is imported.

        Args:
            name: In any spelling.
            family: Family of models that it is wanted for; its own line comes before one for every family.

        Raises:
            NameNotFound: No line has this name; the message carries near matches.
            MismatchError: Several families have one, and none is said.
        """
        named = [line for line in self.lines() if line.is_named(name)]
        fitting = [line for line in named if family is None or line.family in ("", family)]
        if not fitting:
            elsewhere = ", ".join(line.family for line in named)
            raise unknown_name(self.kind, name, self.names(family), elsewhere=elsewhere, wanted=family or "")
        if family is None and len(fitting) > 1:
            families = " and ".join(line.family or "every family" for line in fitting)
            raise MismatchError(f"{self.kind} {name!r} is one of {families}: say for which family it is meant")
        return max(fitting, key=lambda line: line.family)

    def get(self, name: str, family: str | None = None) -> Any:
        """Import and return what `name` stands for; arguments as in `line`.

        Raises:
            NameNotFound: No line has this name, or its line points to something that is not there.
            NeedNotMet: A package that it needs is not installed.
            MismatchError: Another package brings it, and fails while it is imported.
        """
        return self.load(self.line(name, family))

    def load(self, line: Line) -> Any:
        """Import and return what a line stands for; errors as in `get`."""
        module_name, _, attribute = line.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            if (reason := self._why(line, error)) is None:
                raise
            raise reason from error
        if not hasattr(module, attribute):
            raise NameNotFound(
                f"{self.kind} {line}: {module_name} has no {attribute!r}: correct the line that registers it"
            )
        return getattr(module, attribute)

    def register(self, name: str, target: str, *, family: str = "", owner: str | None = None) -> None:
        """Add a line; adding the same line again changes nothing.

        Args:
            name: Name by which it is found from now on.
            target: ``"module:attribute"``; in a notebook the module is ``__main__``.
            family: Family of models that it is for; by default every one.
            owner: Who brings it, for error messages; the target's top-level module if None.

        Raises:
            MismatchError: `target` has another form, or the name is taken by something else.
        """
        self._read_plugins()
        self._add(Line(name, target, owner or target.partition(".")[0].partition(":")[0], family))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(line.is_named(name) for line in self.lines())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.lines())

    def __repr__(self) -> str:
        return f"Table({self.kind}: {', '.join(self.names()) or 'empty'})"

    def _why(self, line: Line, error: Exception) -> InputError | None:
        """What a caller can do where a line cannot be imported; None for a defect of this package."""
        module = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        package = module.partition(".")[0]
        if package != module and f"{line.target.partition(':')[0]}.".startswith(f"{module}.") and package != PACKAGE:
            return NameNotFound(f"{self.kind} {line}: there is no module {module}: correct the line that registers it")
        if package not in ("", PACKAGE):
            known = line.owner == PACKAGE and package in EXTRAS
            cure = remedy(package) if known else f"install it, or the extra of {line.owner} that brings it"
            return NeedNotMet(f"{self.kind} {line} needs the package {package!r}, which is not installed: {cure}")
        if line.owner == PACKAGE:
            return None
        return MismatchError(
            f"{self.kind} {line} fails while it is imported ({type(error).__name__}: {error}): "
            f"take a version of {line.owner} that fits this one of {PACKAGE}, or uninstall it"
        )

    def _add(self, line: Line) -> None:
        module, colon, attribute = line.target.partition(":")
        if not (module and colon and attribute):
            raise MismatchError(f"{self.kind} {line}: the target has to read 'module:attribute'")
        taken = self._lines.setdefault(("" if self._is_global else line.family, _folded(line.name)), line)
        if taken.target != line.target:
            raise MismatchError(
                f"two {_plural(self.kind)} claim one name: {taken} and {line}: rename one, or uninstall its package"
            )

    def _read_plugins(self) -> None:
        if self._knows_plugins:
            return
        for point in entry_points(group=self.group):
            owner = point.dist.name if point.dist else point.module
            family, _, name = point.name.rpartition("/")
            self._add(Line(name, point.value, owner, family))
        self._knows_plugins = True


def unknown_name(kind: str, name: str, known: Sequence[str], *, elsewhere: str = "", wanted: str = "") -> NameNotFound:
    """The error for a `name` that is not among `known`, with the nearest ones.

    Args:
        kind: What the name should have named.
        name: What was given.
        known: What there is.
        elsewhere: Families that have something of this name.
        wanted: Family that it was asked for.
    """
    spelled = {_folded(candidate): candidate for candidate in known}
    if elsewhere:
        nearest = difflib.get_close_matches(_folded(name), spelled, n=MOST_NEAR, cutoff=0)
        more = len(known) - len(nearest)
        rest = f" and {more} more (genunlearn ls {_plural(kind)})" if more else ""
        there_are = f"{wanted} has {', '.join(spelled[match] for match in nearest)}{rest}"
        return NameNotFound(f"{kind} {name!r} is for {elsewhere}, not for {wanted}; {there_are}")
    near = difflib.get_close_matches(_folded(name), spelled, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(spelled[match]) for match in near)}? " if near else ""
    everything = f"known: {', '.join(known) or 'none'}" if len(known) <= MOST_NAMED else "see genunlearn ls --help"
    return NameNotFound(f"unknown {kind} {name!r}; {hint}{everything}")


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
