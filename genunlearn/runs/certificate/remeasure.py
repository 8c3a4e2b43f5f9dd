"""Measure what a run has left again, and hold the numbers to the intervals of its certificate.

The configuration is that of the record. A place in it is not opened because the record says so: the base is the one
that the user names, and every other file or folder has to be named by the user too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.config import AuditConfig, UnlearnConfig, build_config
from genunlearn.contracts import ORIGINAL, UNLEARNED, Beside
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.errors import ConfigError, GenunlearnError
from genunlearn.ops.intervals import share
from genunlearn.records import RunRecord
from genunlearn.registry import FAMILIES, LAB, RUNS
from genunlearn.reports.numbers import format_number
from genunlearn.reports.reporter import reporter_of
from genunlearn.runs.run import prepare

Found = tuple[bool | None, str]
"""Whether something holds, and what."""
PLACES = {
    "request": ("file", "forget", "retain", "path", "neutral", "data"),
    "evaluate": ("judge", "clip", "prompts", "oracle", "oracle_folders", "backbone"),
    "oracle": ("base",),
    "on": (),
}
"""Keys of a configuration that may name a file, a folder or a model of the hub, by section."""
NO_PLACES = ("auto", "never", "none", "all", "embedding")
KINDS = (LAB, "sklearn:", "class:", "subclass:", "random:", "range:", "hardest:")
"""How values begin that name something by its kind."""
AUDIT = "audit."
"""How overrides begin that are about the audit's configuration."""
ROUNDING = 1e-6


def base_hash(record: RunRecord, model: str) -> str | None:
    """Hash of the base that the user names, as the record's family takes it; None where that takes the data.

    Raises:
        InputError: There is no such model.
    """
    config = build_config(_with_model(record, model))
    sha256: str | None = FAMILIES.get(config.family)(config, Watch(is_shown=False)).base_sha256()
    return sha256


def run_config(record: RunRecord, model: str, overrides: Sequence[str]) -> UnlearnConfig:
    """The configuration of a run's record, with no place in it that the user has not named.

    Args:
        record: The record.
        model: The base that the user names.
        overrides: Values that the user gives; those for the audit begin with ``audit.``.

    Raises:
        ConfigError: The record names a place that the user has not named.
    """
    own = [each for each in overrides if not each.startswith(AUDIT)]
    config = build_config(_without_places(record, model, own), own)
    assert isinstance(config, UnlearnConfig)  # `issue` takes no others
    return config


def audit_config(audit: RunRecord, run: Path, model: str, overrides: Sequence[str]) -> AuditConfig:
    """The configuration of an audit's record, for the weights in `run`; see `run_config`."""
    own = [each.removeprefix(AUDIT) for each in overrides if each.startswith(AUDIT)]
    data = {**_without_places(audit, model, own, AUDIT), "unlearned": str(run), "controls": None}
    config = build_config(data, own)
    assert isinstance(config, AuditConfig)
    return config


def measure_again(
    certificate: Mapping[str, Any], record: RunRecord, config: UnlearnConfig, run: Path, watch: Watch | None
) -> Iterator[Found]:
    """Whether the weights in `run` still give the numbers of the certificate, within its intervals.

    Args:
        certificate: The certificate.
        record: The record that it names.
        config: What `run_config` makes of the record.
        run: The folder that the user says the weights lie in.
        watch: Tells the person who waits what is being done.

    Raises:
        InputError: The base or a file cannot be used.
    """
    criteria = reporter_of(record).find(record).criteria
    if len(criteria) != len(certificate["criteria"]):
        yield False, "measured again: the certificate has other tests than the record"
        return
    family, _, request, attacks = prepare(config, watch or Watch(is_shown=False))
    with family.environment(request), tempfile.TemporaryDirectory(prefix="genunlearn-") as folder:
        original = family.open(request)
        request = family.surround(request, original, FileJournal(None))
        _, hashes = family.describe(request, original)
        known, base = str(certificate["hashes"].get("base"))[:12], str(hashes.get("base"))[:12]
        text = f"base: {config.model.source} is {base}, the certificate names {known}"
        yield hashes.get("base") == certificate["hashes"].get("base"), text
        why = family.why_no_oracle(request)
        beside: Beside[Any] = Beside(
            lambda: original,
            None if why else lambda: family.oracles(request),
            why_no_oracle=why or "",
            folder=Path(folder),
        )
        beside.measured[ORIGINAL] = family.measure(original, request, ORIGINAL, beside)
        try:
            unlearned = family.reopen(request, run)
        except GenunlearnError as error:
            yield False, f"measured again: {error}"
            return
        measured = beside.measured[UNLEARNED] = family.measure(unlearned, request, UNLEARNED, beside)
        again = {(row["name"], row["group"]): row["value"] for row in measured["results"]}
        places = [(criterion.result.name, criterion.result.group) for criterion in criteria]
        if not again.keys() >= set(places):  # the others are results of attacks
            for splits in family.attacked(request, beside):
                rows = (row for attack in attacks for row in attack.run(unlearned, splits, UNLEARNED, beside))
                again |= {(row.name, row.group): row.value for row in rows}
    for said, place in zip(certificate["criteria"], places, strict=True):
        yield _within(said["label"], said["value"], (said["low"], said["high"]), again.get(place))


def audit_again(
    certificate: Mapping[str, Any], audit: RunRecord, config: AuditConfig, watch: Watch | None
) -> Iterator[Found]:
    """Whether an audit by `audit_config` still comes to the verdicts of the certificate; see `measure_again`."""
    with tempfile.TemporaryDirectory(prefix="genunlearn-") as folder:
        again: RunRecord = RUNS.get(config.task)(config, Path(folder) / "audit", watch=watch)()
    for place, row in enumerate(audit.verdicts):
        label = f"subject {place + 1}" if certificate["sealed_with"] else row["concept"]
        now = again.verdicts[place]["verdict"] if place < len(again.verdicts) else "no verdict"
        yield now == row["verdict"], f"audited again: {label}: {now}, {row['verdict']} in the certificate"
        if place >= len(again.verdicts):
            continue
        fresh = {(c["attack"], c["strength"]): c["shares"][UNLEARNED] for c in again.verdicts[place]["comparisons"]}
        for comparison in row["comparisons"]:
            mine, its = comparison["shares"][UNLEARNED], fresh.get((comparison["attack"], comparison["strength"]))
            value, low, high = share(mine["shown"], mine["n"])
            name = ", ".join(filter(None, (comparison["attack"], comparison["strength"])))
            yield _within(f"audited again: {name}", value, (low, high), its and its["shown"] / its["n"])


def _within(label: str, value: float | None, ends: tuple[float | None, float | None], now: float | None) -> Found:
    if value is None:
        return None, f"{label}: not measured in the certificate"
    if now is None:
        return False, f"{label}: {format_number(value)} in the certificate, could not be measured again"
    low, high = (value if end is None else end for end in ends)
    text = f"{label}: {format_number(now)}, in the certificate {format_number(value)}"
    text += f" [{format_number(low)}, {format_number(high)}]"
    return low - ROUNDING <= now <= high + ROUNDING, text


def _with_model(record: RunRecord, model: str) -> dict[str, Any]:
    """The record's configuration with the user's base."""
    section = record.config.get("model")
    return {**record.config, "model": {**(section if isinstance(section, dict) else {}), "source": model}}


def _without_places(record: RunRecord, model: str, overrides: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """The record's configuration, in which no place is left that the user has not named.

    Raises:
        ConfigError: There is one.
    """
    data = _with_model(record, model)
    given = {override.partition("=")[0].strip() for override in overrides}
    for section, keys in PLACES.items():
        found = data.get(section)
        if isinstance(found, str):  # the oracle of an audit, the run that a request follows
            found, keys = {section: found}, (section,)
        if not isinstance(found, Mapping):
            continue
        for key in keys:
            name = key if key == section else f"{section}.{key}"
            value = found.get(key)
            if value not in (None, "") and name not in given and any(map(_is_place, _texts(value))):
                raise ConfigError(
                    f"the record names {name} = {str(value)[:200]!r}, and places in records are not opened: "
                    f"name it yourself (--set {prefix}{name}=...)"
                )
    if place := next((text for text in _texts(data.get("attacks")) if "/" in text or "\\" in text), None):
        raise ConfigError(f"the record names {place[:200]!r} in attacks, and places in records are not opened")
    # What a method was told is not needed to measure, and may name a file as well.
    method = data.get("method")
    if isinstance(method, Mapping):
        data["method"] = {key: value for key, value in method.items() if key == "name" or not _texts(value)}
    return data


def _texts(value: Any) -> list[str]:
    """Every text in a value of a configuration."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _texts(part)]


def _is_place(text: str) -> bool:
    return text not in NO_PLACES and not text.startswith(KINDS)
