"""An audit: an unlearned model beside its original and an oracle, under every attack, with a verdict a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from genunlearn.config import AuditConfig
from genunlearn.contracts import ORACLE, ORIGINAL, SURROGATES, UNLEARNED, Domain
from genunlearn.contracts.family import Audit, Audited
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.evaluation.verdicts import PLAIN, PRESENT_FROM, Comparison, Rules, judge, stands
from genunlearn.ops.intervals import share
from genunlearn.ops.spending import spend
from genunlearn.ops.verdicts import ALPHA, Share
from genunlearn.processes import summed
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
        self._asked = hash_json([repr(said) for said in self.audit.about(self.subjects)])
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data={"asked": self._asked})
        shared = Path(config.controls) / self._pair() if config.controls else None
        common = (ORIGINAL, ORACLE, *SURROGATES)
        self.units = Units(self.folder.state / "units", self.watch, shared=shared, common=common)

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
                if isinstance(first := next(iter(self.models.values()), None), Domain):
                    self.folder.describe_model(first.network)
                self.audit.begin(self.models, self.units, self.folder.path)
            self._describe()
            self._question_oracle()
            self.record.results += self.audit.stayed()
            self._check_oracle()
            for subject in self.subjects:
                self._audit(subject)
            self.record.results += self.audit.overall(self.record.results)
            self.record.cost |= {"forwards": summed(self.audit.forwards()), "peak_memory_mb": peak_memory_mb()}
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
        sizes, damage = self.audit.looks(), self.audit.damage()
        alphas = spend(sizes, ALPHA)
        comparisons = self._plain(subject)
        for name, attack in sorted(self.attacks.items(), key=lambda item: item[0] not in scored):
            if damage is not None or self._stands(subject, comparisons, alphas[0]):
                break  # attacks on a ruined model say nothing
            comparisons += self._attack(subject, name, attack)
            if name in scored:
                self._score(subject, attack)
        rules = self._rules(subject, alphas)
        verdict, looked = judge(subject.label, comparisons, rules, damage), 1
        while verdict.unsettled and looked < len(sizes):
            self.folder.keep()
            comparisons = self._look_again(subject, comparisons, verdict.unsettled, looked)
            verdict, looked = judge(subject.label, comparisons, rules, damage), looked + 1
        self.folder.keep()
        self._renew(subject, comparisons)
        seen = [{"n": n, "alpha": round(alpha, 6)} for n, alpha in zip(sizes, alphas, strict=True)]
        rows = {"looks": seen[:looked], "comparisons": [_plain_json(c) for c in comparisons]}
        self.record.verdicts.append(verdict.to_json() | rows)

    def _stands(self, subject: Audited, comparisons: Sequence[Comparison], alpha: float) -> bool:
        """Whether to leave the attacks that remain, which is noted."""
        if self.config.evaluate.until == "all" or not stands(comparisons, alpha):
            return False
        tried = {c.attack for c in comparisons}
        if left := [name for name in self.attacks if name not in tried]:
            self.record.notes.append(f"{subject.label}: not tried, since the verdict stands: {', '.join(left)}")
        return True

    def _plain(self, subject: Audited) -> list[Comparison]:
        """How often each model shows the subject when it is simply asked."""
        found = self._each(subject, PLAIN, PLAIN, partial(self.audit.plain, subject))
        shares = {name: Share(value["hits"][0], value["n"]) for name, value in found.items() if "hits" in value}
        self.record.results += [asr(subject.label, PLAIN, name, share) for name, share in shares.items()]
        self.record.examples += self.audit.examples(subject, PLAIN, [""])
        return [Comparison(PLAIN, "", shares)]

    def _attack(self, subject: Audited, name: str, attack: Any) -> list[Comparison]:
        """One attack on every model; one comparison a strength."""
        if reason := self.audit.lacking(subject, attack):
            self.record.results += self._results(subject, name, UNLEARNED, {"skipped": reason})
            self._count(subject.label, name, attack.budget, {})
            return []
        unit = COMPLETED if self.audit.is_scored(attack) else name
        found = self._each(subject, unit, name, partial(self.audit.attempt, subject, attack))
        for target, value in found.items():
            self.record.results += self._results(subject, name, target, value)
        strengths: list[str] = next((value["strengths"] for value in found.values() if "strengths" in value), [])
        self.record.examples += self.audit.examples(subject, name, strengths)
        self._count(subject.label, name, attack.budget, found)
        done = {target: value for target, value in found.items() if "hits" in value}
        if UNLEARNED not in done:
            return []
        places = range(len(strengths))
        rows = [{t: Share(value["hits"][place], value["n"]) for t, value in done.items()} for place in places]
        return [
            Comparison(name, strength, shares, carries_in=attack.carries_in(strength))
            for strength, shares in zip(strengths, rows, strict=True)
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

    # ---- more images -----------------------------------------------------------------------------------------

    def _look_again(
        self, subject: Audited, comparisons: list[Comparison], unsettled: Sequence[str], look: int
    ) -> list[Comparison]:
        """More images of the audited model and its control, under the attacks that have not been decided."""
        more: dict[tuple[str, str], dict[str, Share]] = {}
        for name in unsettled:
            controls = next(c.controls for c in comparisons if c.attack == name)
            for target, value in self._more(subject, name, look, (UNLEARNED, *controls)).items():
                for strength, hits in zip(value.get("strengths", ()), value.get("hits", ()), strict=True):
                    more.setdefault((name, strength), {})[target] = Share(hits, value["n"])
        return [c.with_more(more.get((c.attack, c.strength), {}), look) for c in comparisons]

    def _more(self, subject: Audited, name: str, look: int, targets: Sequence[str]) -> dict[str, Value]:
        attack = self.attacks.get(name)
        if attack is None:
            return self._each(subject, PLAIN, PLAIN, partial(self.audit.plain, subject, look=look), look, targets)
        unit = COMPLETED if self.audit.is_scored(attack) else name
        found = self._each(subject, unit, name, partial(self.audit.attempt, subject, attack, look=look), look, targets)
        self._count(subject.label, name, attack.budget, found)
        return found

    def _renew(self, subject: Audited, comparisons: Sequence[Comparison]) -> None:
        """Put the shares of all looks in the place of the first one's."""
        later = [c for c in comparisons if c.look]
        new = [asr(subject.label, c.label, name, found) for c in later for name, found in c.shares.items()]
        places = {(r.name, r.target, r.group): row for row, r in enumerate(self.record.results)}
        for result in new:
            place = places.get((result.name, result.target, result.group))
            if place is None:
                self.record.results.append(result)
            else:
                self.record.results[place] = result

    # ---- parts -----------------------------------------------------------------------------------------------

    def _rules(self, subject: Audited, alphas: tuple[float, ...]) -> Rules:
        groups = {f"{subject.label}, {name}": name for name in self.attacks}
        mine = (row for row in self.record.results if row.target == UNLEARNED and row.group in groups)
        return Rules(
            tolerance=self.config.evaluate.tolerance,
            panel=self.audit.panel,
            idle=tuple(name for name, attack in self.attacks.items() if attack.is_idle),
            refused={groups[row.group]: row.skipped for row in mine if row.group and row.skipped},
            lacking=self.audit.unguarded(),
            counted=self.audit.counted,
            alphas=alphas,
            surrogates=self.audit.surrogates(subject),
        )

    def _question_oracle(self) -> None:
        """Refuse an oracle that shows what it should never have seen.

        Raises:
            DataError: It does.
        """
        for subject in self.subjects:
            if ORACLE not in self.models or subject.role == "retain":
                continue
            (value,) = self._each(
                subject, PLAIN, "oracle", partial(self.audit.plain, subject), targets=(ORACLE,)
            ).values()
            hits, n = value["hits"][0], value["n"]
            if hits >= PRESENT_FROM * n:
                raise DataError(
                    f"{subject.label}: the oracle {self.audit.shows} it in {hits} of {n} {self.audit.counted}, so it "
                    "knows or infers it and is no oracle for it; name another in oracle, or oracle = never"
                )

    def _check_oracle(self) -> None:
        """Refuse an oracle that has not learnt what it should have: its attacks would bring out less than they may.

        Raises:
            DataError: It has not.
        """
        if ORACLE in self.models and (lost := self.audit.damage(ORACLE)):
            raise DataError(f"the oracle: {lost}, so it is no oracle; name another in oracle, or oracle = never")

    def _each(
        self,
        subject: Audited,
        unit: str,
        title: str,
        compute: Any,
        look: int = 0,
        targets: Sequence[str] = (),
    ) -> dict[str, Value]:
        """One unit a model."""
        if not targets:
            targets = [*self.models, *(SURROGATES if self.audit.surrogates(subject) else ())]
        unit = f"{unit} look={look + 1}" if look else unit
        keys = {target: f"{subject.label}/{unit}/{target}" for target in targets}
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
        self.record.notes += self.audit.remarks()

    def _pair(self) -> str:
        """What audits have in common that may share their controls: everything but the model under audit."""
        rest = {k: v for k, v in self.config.resolved().items() if k not in ("unlearned", "controls")}
        rest["request"] = {**rest["request"], "force": False}
        return hash_json({**rest, **self.audit.weights(), "asked": self._asked})[:16]

    def _count(self, label: str, attack: str, budget: str, found: Mapping[str, Value]) -> None:
        """Budget and cost of an attack, one row of the record's rounds; later looks add to it."""
        rows = {key: {name: value.get(key) for name, value in found.items()} for key in ("forwards", "seconds")}
        for row in self.record.rounds:
            if (row["concept"], row["attack"]) == (label, attack):
                for key, amounts in rows.items():
                    row[key] |= {name: round(row[key][name] + amount, 2) for name, amount in amounts.items() if amount}
                return
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
    named = {"attack": comparison.attack, "strength": comparison.strength}
    return named | ({"carries_in": True} if comparison.carries_in else {}) | {"shares": shares}
