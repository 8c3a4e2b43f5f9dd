"""One run, one YAML file: read, overridden by ``--set a.b=c``, checked, frozen.

An unknown, duplicate or mistyped key is an error that names file, line and the nearest known key.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from genunlearn.config.sections import RunConfig
from genunlearn.config.yaml_text import NotYaml, load_yaml, yaml
from genunlearn.errors import ConfigError, SourceNotFound
from genunlearn.registry import CONFIGS, DOMAINS, GENERATORS, METHODS, VALUATIONS, family_of, unknown_name
from genunlearn.shipped import shipped

S = TypeVar("S", bound=BaseModel)

DEFAULT = "default.yaml"
"""What the configurations of one shipped folder have in common."""
LAUNCHING = "accelerate"
"""Folder of what ``accelerate launch`` takes; it holds no configurations of runs."""


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, or one that the package ships (``lm/lab/unstar``).

    Args:
        source: Path of a YAML file, or the name of a shipped configuration.
        overrides: ``a.b=value`` strings, values in YAML.

    Raises:
        SourceNotFound: No such file and no shipped configuration of that name.
        ConfigError: The content is wrong; the message names file, line and remedy.
    """
    data = read_config(source)
    for override in overrides:
        _apply_override(data, override)
    return _check(data, str(source), overrides)


def read_config(source: str | Path) -> dict[str, Any]:
    """What a configuration says, unchecked; errors as in `load_config`.

    A shipped name ``FAMILY/SUITE/METHOD`` stands for the suite's ``default.yaml`` with the sections of the method's own
    file in place of its own. A method without a file has its own defaults there.
    """
    if _is_file(Path(source)):
        return _read_yaml(_read_text(Path(source), source), str(source))
    own, default = _shipped_files(source)
    data = {} if default is None else _read_yaml(_read_text(default, source), str(source))
    if own is not None:
        said = _read_yaml(_read_text(own, source), str(source))
        data = {**data, **said} if data else said
    if default is not None:
        data.setdefault("method", {"name": Path(source).stem})
    return data


def config_text(source: str | Path) -> str:
    """A configuration as YAML that stands by itself, below what its own file says of it."""
    if _is_file(Path(source)):
        return _read_text(Path(source), source)
    own, default = _shipped_files(source)
    text = "" if own is None else _read_text(own, source)
    if default is None:
        return text
    body = io.StringIO()
    yaml().dump(_plain(read_config(source)), body)
    remarks = [line for line in text.splitlines() if line.startswith("#")]
    return "\n".join([*remarks, body.getvalue()])


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


def build_section(kind: type[S], given: Mapping[str, Any], origin: str) -> S:
    """One section of a configuration, from a caller in Python.

    Args:
        kind: The section's class.
        given: Its keys.
        origin: What the caller calls it, for the message.

    Raises:
        ConfigError: A key is unknown, or a value mistyped or out of range.
    """
    try:
        return kind.model_validate(_freeze(dict(given)))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, given, origin, ())) from None


def _check(data: Mapping[str, Any], origin: str, overrides: Sequence[str]) -> RunConfig:
    task = data.get("task", "unlearn")
    domain = data.get("domain", "diffusion" if task == "audit" else "lm")
    if not isinstance(domain, str) or domain not in DOMAINS:
        place = _place(["domain"], data, origin, overrides)
        raise ConfigError(f"{place}: {unknown_name('domain', str(domain), DOMAINS.names())}")
    family = family_of(domain)
    tasks = [line.name for line in CONFIGS.lines() if line.family == family]
    if task not in tasks:
        place = _place(["task"], data, origin, overrides)
        raise ConfigError(f"{place}: task = {task!r}: for domain {domain!r} there is {' and '.join(tasks) or 'none'}")
    kind: type[RunConfig] = CONFIGS.get(task, family)
    try:
        return kind.model_validate(_freeze(data))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, data, origin, overrides)) from None


def place_of(path: Sequence[str], source: str | Path, overrides: Sequence[str] = ()) -> str:
    """Where a configuration gives the key at `path`: ``file:line`` or the override; the file alone if nowhere."""
    return _place(path, read_config(source), str(source), overrides)


def list_configs() -> tuple[str, ...]:
    """Names of the configurations that the package ships, sorted."""
    root = shipped("configs")
    files = (p.relative_to(root) for p in root.rglob("*.yaml") if p.name != DEFAULT)
    return tuple(sorted(file.with_suffix("").as_posix() for file in files if file.parts[0] != LAUNCHING))


def _shipped_files(source: str | Path) -> tuple[Path | None, Path | None]:
    """A method's own file and its suite's default, each None where there is none.

    Raises:
        SourceNotFound: There is neither, or the name is not that of a method.
    """
    root, name = shipped("configs"), str(source).removeprefix("configs/").removesuffix(".yaml")
    own, default = root / f"{name}.yaml", root / Path(name).parent / DEFAULT
    if ".." not in Path(name).parts and not Path(name).is_absolute():
        found = own if _is_file(own) and own.name != DEFAULT else None
        is_method = any(Path(name).name in table for table in (METHODS, VALUATIONS, GENERATORS))
        if found is not None or (_is_file(default) and is_method):
            return found, default if _is_file(default) else None
    near = difflib.get_close_matches(str(source), list_configs(), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceNotFound(f"no configuration {str(source)!r}{hint} (genunlearn ls configs lists what is shipped)")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _read_text(path: Path, source: str | Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceNotFound(
            f"configuration {str(source)!r} cannot be read ({error.strerror}): make the file readable"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{source}:{line}: not UTF-8: save the file with that encoding") from None


def _read_yaml(text: str, origin: str) -> dict[str, Any]:
    try:
        data = load_yaml(text)
    except NotYaml as error:
        raise ConfigError(f"{origin}:{error.line}: {error}" if error.line else f"{origin}: {error}") from None
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
        given = load_yaml(value)
    except NotYaml as error:
        raise ConfigError(f"--set {override!r}: {error}") from None
    is_unfinished = isinstance(given, dict) and value.strip().endswith(":")
    place[last] = value.strip() if is_unfinished else given  # ``nodes:`` is a request without a value, no section


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


def _plain(value: Any) -> Any:
    """The same without what a YAML reader remembers of its file."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _explain(
    error: ValidationError, kind: type[BaseModel], data: Mapping[str, Any], origin: str, overrides: Sequence[str]
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
    if problem["type"] == "string_type" and isinstance(given, Mapping):
        text = ", ".join(f"{key}:{said}" for key, said in given.items())
        return f"{where}: {name} is read as a mapping: write {text} without a blank behind the colon, or in quotes"
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


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    section = kind
    for part in path:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return sorted(section.model_fields)
