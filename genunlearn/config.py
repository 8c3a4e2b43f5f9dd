"""One run, one YAML file: read, overridden by ``--set a.b=c``, checked, frozen.

An unknown, duplicate or mistyped key is an error that names file, line and the nearest known key.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from genunlearn.errors import ConfigError, SourceNotFound
from genunlearn.records import hash_json
from genunlearn.shipped import shipped


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, defaults checked, no silent casts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class ModelConfig(Section):
    """Which model, and how it is loaded."""

    source: Annotated[str, Field(min_length=1)] = "lab:lm"
    """Hub id, local folder in the hub's format, or ``lab:NAME``."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    quantize: Literal["none", "nf4"] = "none"
    """``nf4`` loads the base in 4 bits (bitsandbytes); only LoRA can be trained on it."""
    device: str = "auto"
    prompts: str = "auto"
    """Prompt suite; ``auto`` takes ``lab`` for lab models and ``instruct`` for all others."""


class RequestConfig(Section):
    """What is to be forgotten, and what is known to surround it."""

    facts: tuple[str, ...] = ()
    """Facts as ``"subject | relation | object"`` or lab fact ids."""
    question: str | None = None
    """The question that a single fact from `facts` answers (hub and local models)."""
    file: str | None = None
    """Facts as JSON lines or CSV."""
    forget: str | None = None
    """Question-answer pairs to forget: a file, ``FOLDER:NAME``, or ``OWNER/NAME:CONFIG[:SPLIT]`` of the hub."""
    retain: str | None = None
    """Question-answer pairs (or facts) to keep, in the same forms."""
    force: bool = False
    """Go on even if the model does not know what it is to forget."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only the first rows of `forget`."""
    concepts: tuple[str, ...] = ()
    """Concepts of an image model."""
    preserve: tuple[str, ...] = ()
    """Concepts of an image model that must stay."""


class MethodConfig(BaseModel):
    """The method's name and its hyper-parameters; the method's own class checks the latter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Annotated[str, Field(min_length=1)] = "unstar"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class ParametersConfig(Section):
    """Which weights are trained."""

    kind: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    """``all-linear``, a regular expression, or names of modules."""


class TrainConfig(Section):
    """The training loop."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Examples of each side in one forward pass, over all processes."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps; a protocol spends them over its rounds."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    save_every: Annotated[int, Field(ge=1)] = 10
    """A killed run loses at most this many steps."""
    stop_recall: Annotated[float, Field(ge=0, le=1)] | None = None
    """Objectives only: stop once the forget recall, checked every `check_every` steps, is at most this."""
    check_every: Annotated[int, Field(ge=1)] = 5


class EvaluateConfig(Section):
    """What is measured before and after."""

    suite: Literal["facts", "facts-quick"] = "facts"
    samples: Annotated[int, Field(ge=0)] = 8
    """Sampled answers a question for the leak rate; 0 leaves it out."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    oracle: Literal["auto", "never"] | str = "auto"
    """``auto`` retrains lab models without the facts; a path or hub id names a model; ``never`` leaves it out."""
    batch_size: Annotated[int, Field(ge=1)] = 128


class RunConfig(Section):
    """Everything that decides what a run does."""

    domain: Literal["lm"] = "lm"
    model: ModelConfig = ModelConfig()
    request: RequestConfig = RequestConfig()
    method: MethodConfig = MethodConfig()
    parameters: ParametersConfig = ParametersConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: Annotated[int, Field(ge=0)] = 0

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain JSON data, defaults filled in."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Hash of the resolved configuration."""
        return hash_json(self.resolved())


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
    try:
        return RunConfig.model_validate(_freeze(data))
    except ValidationError as error:
        raise ConfigError(_explain(error, data, origin, overrides)) from None


def build_config(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Check a configuration given as nested mappings; see `load_config`."""
    merged: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in data.items()}
    for override in overrides:
        _apply_override(merged, override)
    try:
        return RunConfig.model_validate(_freeze(merged))
    except ValidationError as error:
        raise ConfigError(_explain(error, merged, "configuration", overrides)) from None


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


def _explain(error: ValidationError, data: Mapping[str, Any], origin: str, overrides: Sequence[str]) -> str:
    """The first problem as one line: place, what is wrong, what to do."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    where = _place(path, data, origin, overrides)
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(_known_keys(path[:-1]))}"
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


def _known_keys(path: Sequence[str]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for part in path:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return sorted(section.model_fields)
