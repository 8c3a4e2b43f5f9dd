"""What may stand in ``record.json``: the schema that a record from outside is held to before anything reads it.

Free-form parts (request, configuration, rounds, examples) may hold any JSON; keys that reports read have their types
here, so that whatever passes can be shown. Values are checked as they are: nothing is converted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypeAliasType

from genunlearn.errors import DataError

SCHEMA = "genunlearn.record/1"

Name = Annotated[str, Field(min_length=1, max_length=2_000)]
Number = float
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Scalar = str | int | float | bool | None
Names = list[str]


SHARES = frozenset({"recall", "leak_rate", "accuracy", "ua", "ira", "cra", "asr"})
PSI = ", psi = "
"""In the group of a result, before the share of steps that the original model made."""


class Part(BaseModel):
    """A part whose further keys may hold any JSON."""

    model_config = ConfigDict(strict=True, extra="allow")


class Closed(BaseModel):
    """A part with no other keys than its own."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ResultPart(Closed):
    """`genunlearn.records.Result`."""

    name: Name
    target: Name
    value: Number | None
    low: Number | None = None
    high: Number | None = None
    n: Count = 0
    group: str | None = None
    version: Count = 1
    higher_is_better: bool | None = None
    skipped: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> ResultPart:
        ends = [end for end in (self.value, self.low, self.high) if end is not None]
        if self.name in SHARES and not all(0 <= end <= 1 for end in ends):
            raise ValueError(f"{self.name} is a share, from 0 to 1")
        step = (self.group or "").removeprefix("step ")
        if step.isdigit() and not re.fullmatch("[0-9]{1,9}", step):
            raise ValueError(f"no number of steps: {step[:20]!r}")
        return self


class FactPart(Part):
    """A fact of a request."""

    subject: str | None = None
    relation: str | None = None
    object: str | None = None
    question: str | None = None
    aliases: Names = []
    paraphrases: Names = []
    heldout: Names = []


class RequestPart(Part):
    """What was to be forgotten."""

    facts: list[FactPart | str] | None = None
    concepts: Names | None = None
    classes: list[Scalar] | None = None
    retain: Names | Scalar = None
    attacks: dict[str, Scalar] | None = None


class ModelPart(Part):
    """``config.model``."""

    source: str | None = None
    revision: str | None = None


class MethodPart(Part):
    """``config.method``."""

    name: str | None = None


class ConfigPart(Part):
    """The resolved configuration."""

    task: str = "unlearn"
    domain: str = "lm"
    model: ModelPart | None = None
    method: MethodPart | None = None
    request: RequestPart | None = None


if TYPE_CHECKING:
    Amount = Any
else:
    Amount = TypeAliasType(
        "Amount", Annotated[float, Field(ge=-1e18, le=1e18)] | str | bool | list["Amount"] | dict[str, "Amount"] | None
    )
    """A counter of any unit, or several by name."""


class CostPart(Part):
    """What a run cost."""

    __pydantic_extra__: dict[str, Amount]

    seconds: Seconds | dict[str, Seconds] | None = None
    steps: Count | None = None
    unlearning_cpu_seconds: Seconds | None = None
    retraining_cpu_seconds: Seconds | None = None
    speed_up_over_retraining: Annotated[float, Field(ge=0, le=1e12)] | None = None


class RoundPart(Part):
    """One round of a method; what is not named here is a scalar, a list, or counts by reason."""

    __pydantic_extra__: dict[str, Scalar | list[Any] | dict[str, Count]]

    round: Count = 0
    known: Count | None = None
    variants: Count = 0
    neighbour_recall: Number | None = None
    seconds: Seconds | None = None

    @model_validator(mode="after")
    def _whole(self) -> RoundPart:
        if self.known is not None and "variants" in self.model_fields_set and self.known > self.variants:
            raise ValueError("known is more than variants")
        return self


class AttackPart(Part):
    """Budget and cost of one attack of an audit."""

    concept: str
    attack: str
    budget: Scalar = None
    forwards: dict[str, Count | dict[str, Count] | None] | None = None
    seconds: dict[str, Seconds | None] | None = None


class ExamplePart(Part):
    """Answers or images of the models side by side."""

    group: str | None = None
    concept: str | None = None
    set: str | None = None
    number: Count | None = None
    question: str | None = None
    answer: str | None = None
    prompt: str | None = None
    original: str | None = None
    unlearned: str | None = None
    oracle: str | None = None
    anchor: str | None = None
    decoy: str | None = None
    tells: dict[str, bool | None] = {}


class AuditExamplePart(ExamplePart):
    """Images of one place: along psi, or drawn by an attack."""

    number: Count
    set: str


class SharePart(Closed):
    """In how many of n images a concept shows."""

    shown: Count
    n: Annotated[int, Field(ge=1, le=2**53)]

    @model_validator(mode="after")
    def _whole(self) -> SharePart:
        if self.shown > self.n:
            raise ValueError("shown is more than n")
        return self


class ComparisonPart(Part):
    """One attack of one strength."""

    attack: Name
    strength: str
    carries_in: bool = False
    shares: dict[str, SharePart]


class LookPart(Part):
    """One look of an audit: images of each model so far, and the probability of error that it may spend."""

    n: Count
    alpha: Annotated[float, Field(ge=0, le=1)]


class VerdictPart(Part):
    """What became of one concept."""

    concept: Name
    verdict: Name
    reason: str
    recovered_by: Names
    recovered_at: Names = []
    controls: Names
    surrogates: str = ""
    panel: Names = []
    looks: list[LookPart] = []
    comparisons: list[ComparisonPart]

    @model_validator(mode="after")
    def _audited(self) -> VerdictPart:
        if any("unlearned" not in comparison.shares for comparison in self.comparisons):
            raise ValueError("a comparison has no share of the unlearned model")
        return self


class AuditRequestPart(RequestPart):
    """What is said to be gone, and what should have stayed."""

    concepts: Names = []
    retain: Names = []


class HashesPart(Part):
    """SHA-256 of what went into a run and came out of it."""

    __pydantic_extra__: dict[str, Scalar | list[Scalar] | dict[str, Scalar]]

    config: str | None = None
    base: str | None = None
    request: str | None = None
    patch: str | None = None
    model: str | None = None


class RecordPart(Closed):
    """`genunlearn.records.RunRecord`."""

    status: Literal["interrupted", "completed", "failed"] = "interrupted"
    outcome: str | None = None
    created: str = ""
    finished: str | None = None
    request: RequestPart = RequestPart()
    config: ConfigPart = ConfigPart()
    hashes: HashesPart = HashesPart()
    versions: dict[str, str] = {}
    seeds: dict[str, int] = {}
    results: list[ResultPart] = []
    cost: CostPart = CostPart()
    parameters: dict[str, Count] = {}
    rounds: list[RoundPart] = []
    examples: list[ExamplePart] = []
    verdicts: list[dict[str, Any]] = []
    notes: Names = []
    error: str | None = None


class AuditPart(RecordPart):
    """The record of an audit."""

    request: AuditRequestPart = AuditRequestPart()
    rounds: list[AttackPart] = []  # type: ignore[assignment]
    examples: list[AuditExamplePart] = []  # type: ignore[assignment]
    verdicts: list[VerdictPart] = []  # type: ignore[assignment]

    @model_validator(mode="after")
    def _curves(self) -> AuditPart:
        """Of each measure there is one value a model and psi."""
        seen: set[tuple[str, str, str, float]] = set()
        for result in self.results:
            label, _, psi = (result.group or "").partition(PSI)
            if not psi:
                continue
            try:
                place = (result.name, result.target, label, float(psi))
            except ValueError:
                raise ValueError(f"psi = {psi[:20]!r} is no number") from None
            if place in seen or not 0 <= place[-1] <= 1:
                raise ValueError(f"psi = {psi[:20]!r} is there twice, or not from 0 to 1")
            seen.add(place)
        return self


def check_record(data: Any, path: Path) -> dict[str, Any]:
    """The fields of a record, as they were read, once they fit the schema.

    Args:
        data: What `path` holds.
        path: For messages.

    Raises:
        DataError: It is no record of this schema.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise DataError(f"{path}: not a record of schema {SCHEMA}")
    fields = {key: value for key, value in data.items() if key != "schema"}
    if unknown := sorted(set(fields) - RecordPart.model_fields.keys()):
        raise DataError(f"{path}: unknown record fields {str(unknown)[:200]}; written by a newer version?")
    try:
        (AuditPart if _is_audit(fields) else RecordPart).model_validate(fields)
    except ValidationError as error:
        raise DataError(
            f"{path}: {first_of(error, 'the record')}; the record is damaged, or written by a newer version"
        ) from None
    return fields


def _is_audit(fields: dict[str, Any]) -> bool:
    config = fields.get("config")
    return isinstance(config, dict) and config.get("task") == "audit"


def first_of(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong: where, what is said of it, what is there; `whole` names all of it."""
    found = error.errors(include_url=False, include_context=False)[0]
    # Of a union every member complains, each with a name of its own behind the key; the key says enough.
    where = ".".join(str(part) for part in found["loc"][:4])[:200]
    if found["type"] == "missing":
        return f"{where} is missing"
    return f"{where or whole} = {found['input']!r:.60}: {found['msg']}"
