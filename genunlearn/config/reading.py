"""One run, one YAML file: read, overridden by ``--set a.b=c``, checked, frozen.

An unknown, duplicate or mistyped key is an error that names file, line and the nearest known key.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from genunlearn.config.sections import RUNS, RunConfig
from genunlearn.errors import ConfigError, SourceNotFound
from genunlearn.shipped import shipped


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, or one that the package ships (``lm/lab/unstar``).

    Args:
        source: Path of a YAML file, or the name of a shipped configuration.
        overrides: ``a.b=value`` strings, values in YAML.

    Raises:
        SourceNotFound: No such file and no shipped configuration of that name.
        ConfigError: The content is wrong; the message names file, line and remedy.
    """
    return parse_config(_read_text(source), overrides, origin=str(source))


def parse_config(text: str, overrides: Sequence[str] = (), *, origin: str = "<config>") -> RunConfig:
    """Check a configuration given as YAML text; see `load_config`."""
    data = _read_yaml(text, origin)
    for override in overrides:
        _apply_override(data, override)
    return _check(data, origin, overrides)


def build_config(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Check a configuration given as nested mappings; see `load_config`."""
    merged: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in data.items()}
    for override in overrides:
        _apply_override(merged, override)
    return _check(merged, "configuration", overrides)


def _check(data: Mapping[str, Any], origin: str, overrides: Sequence[str]) -> RunConfig:
    key, name = ("task", "audit") if data.get("task") == "audit" else ("domain", data.get("domain", "lm"))
    kind = RUNS.get(name) if isinstance(name, str) else None
    if kind is None or (key, name) == ("domain", "audit"):
        place, domains = _place([key], data, origin, overrides), [domain for domain in RUNS if domain != "audit"]
        near = difflib.get_close_matches(str(name), domains, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{place}: unknown domain {name!r}; {hint}known: {', '.join(domains)}")
    try:
        return kind.model_validate(_freeze(data))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, data, origin, overrides)) from None


def place_of(path: Sequence[str], source: str | Path, overrides: Sequence[str] = ()) -> str:
    """Where a configuration gives the key at `path`: ``file:line`` or the override; the file alone if nowhere."""
    return _place(path, _read_yaml(_read_text(source), str(source)), str(source), overrides)


def find_config(source: str | Path) -> Path:
    """The file behind a path or the name of a shipped configuration."""
    path = Path(source)
    if path.is_file():
        return path
    named = shipped("configs") / f"{str(source).removeprefix('configs/').removesuffix('.yaml')}.yaml"
    if named.is_file() and ".." not in Path(source).parts:
        return named
    near = difflib.get_close_matches(str(source), list_configs(), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceNotFound(f"no configuration {str(source)!r}{hint} (genunlearn ls configs lists what is shipped)")


def list_configs() -> tuple[str, ...]:
    """Names of the configurations that the package ships, sorted."""
    root = shipped("configs")
    return tuple(sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml")))


def _read_text(source: str | Path) -> str:
    try:
        return find_config(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{source}:{line}: not UTF-8: save the file with that encoding") from None


def _yaml() -> YAML:
    return YAML(typ="rt", pure=True)


def _read_yaml(text: str, origin: str) -> dict[str, Any]:
    try:
        data = _yaml().load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ConfigError(f"{origin}:{line}: {error.problem.split(' with value')[0]}: keep one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{origin}:{line}: not YAML: {error.problem}") from None
    except YAMLError as error:
        raise ConfigError(f"{origin}: not YAML: {str(error).splitlines()[0]}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{origin}:1: a configuration is a mapping of sections, got {type(data).__name__}")
    return data


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override!r}: write it as section.key=value")
    *parents, last = key.strip().split(".")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a section")
    try:
        place[last] = _yaml().load(io.StringIO(value))
    except YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"--set {override!r}: not YAML: {reason}") from None


def _freeze(value: Any) -> Any:
    """Plain Python scalars, tuples for lists: what strict validation of frozen sections asks for."""
    if isinstance(value, Mapping):
        return {str(key): _freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _explain(
    error: ValidationError, kind: type[RunConfig], data: Mapping[str, Any], origin: str, overrides: Sequence[str]
) -> str:
    """The first problem as one line: place, what is wrong, what to do."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    where = _place(path, data, origin, overrides)
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(kind, path[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(_known_keys(kind, path[:-1]))}"
        return f"{where}: unknown key {name!r}; {hint}"
    given = problem.get("input")
    value = f" = {given!r}" if isinstance(given, str | int | float | bool | None) else ""
    return f"{where}: {name}{value}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _place(path: Sequence[str], data: Mapping[str, Any], origin: str, overrides: Sequence[str]) -> str:
    for override in reversed(overrides):
        key = override.partition("=")[0].strip().split(".")
        if all(given == part for given, part in zip(key, path, strict=False)):  # one lies within the other
            return f"--set {override!r}"
    line = line_of(data, path)
    return f"{origin}:{line}" if line else origin


def line_of(data: Mapping[str, Any], path: Sequence[str]) -> int | None:
    """Line of the key at `path` in data that came from a file, counted from 1; None where there is none."""
    line, place = None, data
    for part in path:
        positions = getattr(getattr(place, "lc", None), "data", None) or {}
        if part not in positions:  # an override, or data that came from no file
            break
        line = positions[part][0] + 1
        place = place[part]
    return line


def _known_keys(kind: type[RunConfig], path: Sequence[str]) -> list[str]:
    section: type[BaseModel] = kind
    for part in path:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return sorted(section.model_fields)
