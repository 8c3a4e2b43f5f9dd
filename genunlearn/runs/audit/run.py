"""An audit: an unlearned model beside its original and an oracle, under every attack, with a verdict a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from genunlearn.config import AuditConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.contracts.family import Audit, Audited
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.evaluation.verdicts import PLAIN, Comparison, judge
from genunlearn.ops.intervals import share
from genunlearn.ops.verdicts import Share
from genunlearn.records import Result, RunRecord, hash_json
from genunlearn.registry import ATTACKS, AUDITS, REPORTS, SUITES
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_attack
from genunlearn.runs.requirements import check_requirements
from genunlearn.runs.units import Units, Value

COMPLETED = "completed"
"""Units of attacks that scores are computed from go by this name."""


class AuditRun:
    """One audit; units of work that are done are not done again."""

    def __init__(self, config: AuditConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: The request, an attack or a model cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.audit, self.subjects, self.attacks = prepare(config, self.watch)
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch)
        shared = Path(config.controls) / self._pair() if config.controls else None
        self.units = Units(self.folder.state / "units", self.watch, shared=shared, common=(ORIGINAL, ORACLE))

    @staticmethod
    def check(config: AuditConfig) -> str:
        """Check what needs no weights; says in a few words what the audit would do."""
        _, subjects, attacks = prepare(config, Watch(is_shown=False))
        names = ", ".join(subject.label for subject in subjects)
        return f"audit of {config.unlearned} beside {config.model.source}: {names}; {len(attacks)} attacks"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the audit has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the audit out and return its record."""
        with self.folder.guarded():
            with self.folder.phase("load"):
                self.models = self.audit.open([s.label for s in self.subjects if s.role == "forget"])
                self.audit.begin(self.models, self.units, self.folder.path)
            self._describe()
            self.record.results += self.audit.stayed()
            for subject in self.subjects:
                self._audit(subject)
            self.record.results += self.audit.overall(self.record.results)
            self.record.cost |= {"forwards": dict(self.audit.forwards()), "peak_memory_mb": peak_memory_mb()}
            self.record.outcome = ", ".join(f"{row['concept']}: {row['verdict']}" for row in self.record.verdicts)
        return self.record

    # ---- what is done for one subject ------------------------------------------------------------------------

    def _audit(self, subject: Audited) -> None:
        """Every attack and a verdict on what should be gone; of what should have stayed, the scores alone."""
        scored = {name: attack for name, attack in self.attacks.items() if self.audit.is_scored(attack)}
        if subject.role == "retain":
            for name, attack in scored.items():
                self._attack(subject, name, attack)
                self._score(subject, attack)
            return
        comparisons = self._plain(subject)
        for name, attack in scored.items():
            comparisons += self._attack(subject, name, attack)
            self._score(subject, attack)
        for name, attack in self.attacks.items():
            if name not in scored:
                comparisons += self._attack(subject, name, attack)
        self.folder.keep()
        verdict = judge(
            subject.label,
            comparisons,
            self.config.evaluate.tolerance,
            damage=self.audit.damage(),
            counted=self.audit.counted,
            least=self._least(subject),
        )
        self.record.verdicts.append(verdict.to_json() | {"comparisons": [_plain_json(c) for c in comparisons]})

    def _least(self, subject: Audited) -> dict[str, str | None]:
        """The least panel, and why one of it cannot be tried on the model under audit."""
        units = {name: f"{subject.label}/{name}/{UNLEARNED}" for name in self.audit.least if name in self.attacks}
        return {
            name: self.units.value(units[name]).get("skipped") if name in units else None for name in self.audit.least
        }

    def _plain(self, subject: Audited) -> list[Comparison]:
        """How often each model shows the subject when it is simply asked."""
        found = self._each(subject, PLAIN, PLAIN, lambda target: self.audit.plain(subject, target))
        shares = {name: Share(value["hits"][0], value["n"]) for name, value in found.items() if "hits" in value}
        self.record.results += [asr(subject.label, PLAIN, name, share) for name, share in shares.items()]
        self.record.examples += self.audit.examples(subject, PLAIN, [""])
        return [Comparison(PLAIN, "", shares)]

    def _attack(self, subject: Audited, name: str, attack: Any) -> list[Comparison]:
        """One attack on every model; one comparison a strength."""
        unit = COMPLETED if self.audit.is_scored(attack) else name
        found = self._each(subject, unit, name, lambda target: self.audit.attempt(subject, attack, target))
        for target, value in found.items():
            self.record.results += self._results(subject, name, target, value)
        strengths: list[str] = next((value["strengths"] for value in found.values() if "strengths" in value), [])
        self.record.examples += self.audit.examples(subject, name, strengths)
        self._count(subject.label, name, attack.budget, found)
        done = {target: value for target, value in found.items() if "hits" in value}
        if UNLEARNED not in done:
            return []
        return [
            Comparison(name, strength, {t: Share(value["hits"][place], value["n"]) for t, value in done.items()})
            for place, strength in enumerate(strengths)
        ]

    def _score(self, subject: Audited, attack: Any) -> None:
        with self.folder.phase("scores"):
            self.audit.gather(subject, attack)
            name = f"{subject.label}/scores"
            rows = self.units.do(
                f"{subject.label}, scores",
                [(name, lambda: {"results": [asdict(r) for r in self.audit.scores(subject, attack)]})],
            )
        self.record.results += [Result(**row) for row in rows[name]["results"]]

    # ---- parts -----------------------------------------------------------------------------------------------

    def _each(self, subject: Audited, unit: str, title: str, compute: Any) -> dict[str, Value]:
        """One unit a model."""
        keys = {target: f"{subject.label}/{unit}/{target}" for target in self.models}
        with self.folder.phase("attacks"):
            done = self.units.do(
                f"{subject.label}, {title}", [(key, partial(compute, target)) for target, key in keys.items()]
            )
        return {target: _in_present_form(done[key]) for target, key in keys.items()}

    def _results(self, subject: Audited, name: str, target: str, value: Value) -> list[Result]:
        if "skipped" in value:
            group = f"{subject.label}, {name}"
            return [Result(name="asr", target=target, group=group, value=None, skipped=value["skipped"])]
        if "results" in value:
            return [Result(**row) for row in value["results"]]
        shares = zip(value["strengths"], value["hits"], strict=True)
        return [asr(subject.label, f"{name}, {what}", target, Share(hits, value["n"])) for what, hits in shares]

    def _describe(self) -> None:
        self.record.request, hashes = self.audit.describe()
        self.record.hashes |= hashes
        if ORACLE not in self.models:
            self.record.notes.append(self.audit.uncontrolled)

    def _pair(self) -> str:
        """What audits have in common that may share their controls: everything but the model under audit."""
        rest = {k: v for k, v in self.config.resolved().items() if k not in ("unlearned", "controls")}
        rest["request"] = {**rest["request"], "force": False}
        return hash_json({**rest, **self.audit.weights()})[:16]

    def _count(self, label: str, attack: str, budget: str, found: Mapping[str, Value]) -> None:
        """Budget and cost of an attack, one row of the record's rounds."""
        rows = {key: {name: value.get(key) for name, value in found.items()} for key in ("forwards", "seconds")}
        details = {name: value.get("details") for name, value in found.items()}
        self.record.rounds.append({"concept": label, "attack": attack, "budget": budget, **rows, "details": details})


def prepare(config: AuditConfig, watch: Watch) -> tuple[Audit[Any, Any], Sequence[Audited], dict[str, Any]]:
    """The family's audit, its subjects and the attacks of a configuration.

    Raises:
        InputError: One of them cannot be used, or there is no model to audit.
    """
    check_requirements(config)
    audit: Audit[Any, Any] = AUDITS.get(config.family)(config, watch)
    REPORTS.line(config.task, config.family)  # without one the run would end with nothing to show
    SUITES.line(config.evaluate.suite, config.family)
    if not config.unlearned:
        raise DataError("no model to audit: name a model folder, a hub id or a patch (--unlearned)")
    attacks = {}
    for name, given in config.attacks.items():
        own = {**audit.shared_fields(ATTACKS.get(name, config.family)), **given}
        place = f"attacks.{name}.{{}}".format
        attacks[name] = build_attack(name, own, place, domain=config.domain, seed=config.seed)
    return audit, audit.subjects(), attacks


def asr(label: str, attack: str, target: str, found: Share) -> Result:
    """A share of images or answers that show the subject."""
    value, low, high = share(found.hits, found.n)
    group = f"{label}, {attack}"
    return Result(name="asr", target=target, value=value, low=low, high=high, n=found.n, group=group)


def _in_present_form(value: Value) -> Value:
    """A finding with its hits by strength: units of audits begun earlier say ``shown``, and ``psis`` for strengths."""
    if "shown" not in value or "hits" in value:
        return value
    if "psis" not in value:
        return {**value, "strengths": [""], "hits": [value["shown"]]}
    return {**value, "strengths": [f"psi = {psi:g}" for psi in value["psis"]], "hits": value["shown"]}


def _plain_json(comparison: Comparison) -> dict[str, Any]:
    shares = {name: {"shown": found.hits, "n": found.n} for name, found in comparison.shares.items()}
    return {"attack": comparison.attack, "strength": comparison.strength, "shares": shares}
