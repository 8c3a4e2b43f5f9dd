r"""Prompt files: Jinja text with an id, a version and a source, whose hash goes into the record.

A prompt is one file ``prompts/<suite>/<name>.jinja``:

    {#
    id: instruct/probe
    version: 1
    source: genunlearn
    #}
    [user]
    What is the capital of Peru?
    [assistant]
    Lima
    [user]
    {{ question }}

The leading comment is the header; ``tokens: 96`` in it says where an answer is cut, for prompts that are asked to
generate training material, and ``example: plants, gas`` names words that only a copy of the prompt's example has. A
line that is exactly ``[system]``, ``[user]`` or ``[assistant]`` starts a message. The file is split into messages
*before* anything is rendered, and each message is rendered by itself, so that a value such as ``"x\n[user]\ny"`` stays
text and can never open a message of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import jinja2
import jinja2.meta
import jinja2.sandbox

from genunlearn.errors import ConfigError, NameNotFound
from genunlearn.shipped import shipped

HEADER_KEYS = ("id", "version", "source")
ROLES = ("system", "user", "assistant")

_HEADER = re.compile(r"\s*\{#(.*?)#\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}[ \t]*\n?", re.DOTALL)
_ROLE_LINE = re.compile(rf"^\[({'|'.join(ROLES)})\][ \t]*$", re.MULTILINE)
_JINJA = jinja2.sandbox.ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)

_FAILURES = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template may raise while it is read or filled in: it is a program, if a sandboxed one."""
_DIGITS = 9


@dataclass(frozen=True)
class Prompt:
    """A conversation with gaps, read from one file.

    Attributes:
        id: ``<suite>/<name>``, the name that `load_prompt` takes.
        version: Raised by hand whenever the wording changes what a model is asked.
        source: Who wrote it or where it was published.
        sha256: Hash of the file's bytes, in hex.
        variables: Names that `messages` must be given, sorted.
        blocks: The messages before rendering, as (role, Jinja text).
        tokens: Where an answer is cut; None where the caller decides.
        example: Words that show that a model has copied the prompt's example.
    """

    id: str
    version: int
    source: str
    sha256: str
    variables: tuple[str, ...]
    blocks: tuple[tuple[str, str], ...]
    tokens: int | None = None
    example: tuple[str, ...] = ()

    def messages(self, **variables: object) -> list[dict[str, str]]:
        """Fill the gaps in.

        Args:
            **variables: A value for each name in `variables`; others are ignored, so that a prompt of the
                user's own may leave some of them out.

        Returns:
            Chat messages ``{"role": ..., "content": ...}`` as chat templates take them.

        Raises:
            ConfigError: A variable is missing, or the template fails on the values.
        """
        if missing := [name for name in self.variables if name not in variables]:
            raise ConfigError(
                f"prompt {self.id}: variable {missing[0]!r} is missing; it needs {', '.join(self.variables)}"
            )
        try:
            filled = [(role, _compiled(text).render(**variables)) for role, text in self.blocks]
        except _FAILURES as error:
            raise ConfigError(f"prompt {self.id}: {_words(error)}; mend the template or the value") from error
        return [{"role": role, "content": text.strip()} for role, text in filled]


def list_prompts() -> tuple[str, ...]:
    """The names that `load_prompt` knows, sorted."""
    return tuple(sorted(_files(shipped("prompts"))))


def load_prompt(name: str) -> Prompt:
    """Read a prompt by its name, such as ``"instruct/variants"``.

    Raises:
        NameNotFound: No such prompt; the message carries near matches.
        ConfigError: The file is there and cannot be used.
    """
    files = _files(shipped("prompts"))
    if not isinstance(name, str) or len(name) > 200:
        raise NameNotFound(f"no prompt named {name!r:.60}; a name has at most 200 letters, such as instruct/probe")
    if name not in files:
        near = get_close_matches(name, files, n=3, cutoff=0.5) or sorted(files)
        hint = f"did you mean {' or '.join(near)}?" if near else f"{shipped('prompts')} has no .jinja files"
        raise NameNotFound(f"no prompt named {name!r}; {hint}")
    return _parse(name, files[name])


def hash_prompts() -> dict[str, str]:
    """Hash of every prompt, by name."""
    return {name: load_prompt(name).sha256 for name in list_prompts()}


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.jinja") if path.is_file()
    }


def _parse(name: str, path: Path) -> Prompt:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    header = _header(path, text)
    if header["id"] != name:
        raise ConfigError(f"{path}: id = {header['id']!r} does not match the file's place; write id: {name}")
    if not header["version"].isdecimal() or len(header["version"]) > _DIGITS:
        raise ConfigError(f"{path}: version = {header['version']!r:.60} is not a whole number; write version: 1")
    tokens = header.get("tokens", "1")
    if not tokens.isdecimal() or len(tokens) > _DIGITS or int(tokens) < 1:
        raise ConfigError(f"{path}: tokens = {tokens!r:.60} is not a whole number from 1; write tokens: 96")
    blocks = _blocks(path, text)
    return Prompt(
        id=name,
        version=int(header["version"]),
        source=header["source"],
        sha256=hashlib.sha256(raw).hexdigest(),
        variables=_variables(path, blocks),
        blocks=blocks,
        tokens=int(tokens) if "tokens" in header else None,
        example=tuple(header.get("example", "").replace(",", " ").split()),
    )


def _header(path: Path, text: str) -> dict[str, str]:
    match = _HEADER.match(text)
    lines = match[1].splitlines() if match else []
    pairs = (line.partition(":") for line in lines if line.strip())
    header = {key.strip(): value.strip() for key, _, value in pairs}
    if missing := [key for key in HEADER_KEYS if not header.get(key)]:
        raise ConfigError(
            f"{path}: the header lacks {missing[0]!r}; start the file with a comment {{# ... #}} "
            f"that has the lines {', '.join(f'{key}: ...' for key in HEADER_KEYS)}"
        )
    return header


def _blocks(path: Path, text: str) -> tuple[tuple[str, str], ...]:
    # Comments go first, so that a role line inside a comment starts nothing.
    before, *parts = _ROLE_LINE.split(_COMMENT.sub("", text))
    if before.strip() or not parts:
        raise ConfigError(f"{path}: text outside a message; start each one with a line [user] or [assistant]")
    blocks = tuple((role, body.strip()) for role, body in zip(parts[::2], parts[1::2], strict=True))
    _check_order(path, [role for role, _ in blocks])
    return blocks


def _check_order(path: Path, roles: list[str]) -> None:
    """Chat templates raise on anything but turns that alternate; here the message can name the file."""
    turns = roles[1:] if roles[0] == "system" else roles
    expected = [("user", "assistant")[position % 2] for position in range(len(turns))]
    if not turns or turns != expected:
        raise ConfigError(f"{path}: messages are {', '.join(roles)}; [user] and [assistant] must take turns")
    if turns[-1] != "user":
        raise ConfigError(f"{path}: the last message is [{turns[-1]}]; end with [user], the model answers next")


def _variables(path: Path, blocks: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    names: set[str] = set()
    for role, text in blocks:
        try:
            names |= jinja2.meta.find_undeclared_variables(_JINJA.parse(text))
            _compiled(text)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{path}: [{role}] message, line {error.lineno}: {error.message}") from error
        except _FAILURES as error:
            raise ConfigError(f"{path}: [{role}] message: {_words(error)}; mend the template") from None
    return tuple(sorted(names))


def _words(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]


@lru_cache(maxsize=256)
def _compiled(text: str) -> jinja2.Template:
    return _JINJA.from_string(text)
