"""An audit: an unlearned pipeline beside its original and an oracle, under every attack, with a verdict a concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from genunlearn.attacks.diffusion.base import Case, ConceptAttack
from genunlearn.attacks.diffusion.concept_relearning import ConceptRelearning
from genunlearn.attacks.diffusion.partial_diffusion import PartialDiffusion
from genunlearn.config import AuditConfig
from genunlearn.domains.diffusion.identity import hash_source
from genunlearn.domains.diffusion.pipelines import find
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError, MismatchError
from genunlearn.evaluation.diffusion.concealment import ConcealmentProbes
from genunlearn.evaluation.diffusion.two_model_classifier import Training
from genunlearn.evaluation.verdicts import PLAIN, Comparison, judge
from genunlearn.ops.intervals import share
from genunlearn.ops.verdicts import Share
from genunlearn.records import Result, RunRecord, hash_json
from genunlearn.registry import LAB, LABS, SUITES
from genunlearn.runs.audit.detector import witness_of
from genunlearn.runs.audit.models import check_models, open_models
from genunlearn.runs.audit.pictures import SHOWN, Pictures
from genunlearn.runs.audit.requests import POOL_SEEDS, Subject, read_subjects
from genunlearn.runs.audit.units import Units, Value
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_attack

ORIGINAL, UNLEARNED, ORACLE = "original", "unlearned", "oracle"
PARTIAL = PartialDiffusion.name


class AuditRun:
    """One audit; units of work that are done are not done again."""

    def __init__(self, config: AuditConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: See the functions that are called here; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.subjects, self.attacks = prepare(config)
        check_models(config)
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch)
        shared = Path(config.controls) / self._pair() if config.controls else None
        self.units = Units(self.folder.state / "units", self.watch, shared=shared, common=(ORIGINAL, ORACLE))
        self.pictures = Pictures(self.folder.path)

    @staticmethod
    def check(config: AuditConfig) -> str:
        """Check what needs no weights; says in a few words what the audit would do."""
        subjects, attacks = prepare(config)
        names = ", ".join(subject.named.label for subject in subjects)
        return f"audit of {config.unlearned} beside {config.model.source}: {names}; {len(attacks)} attacks"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the audit has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the audit out and return its record."""
        with self.folder.guarded():
            with self.folder.phase("load"):
                self.models = open_models(self.config, [s.named.label for s in self.subjects if s.role == "forget"])
            self._describe()
            for subject in self.subjects:
                self._look_at(subject)
            self.record.cost |= {"forwards": self._forwards(), "peak_memory_mb": peak_memory_mb()}
            self.record.outcome = ", ".join(f"{row['concept']}: {row['verdict']}" for row in self.record.verdicts)
        return self.record

    # ---- what is done for one concept ---------------------------------------------------------------------------

    def _look_at(self, subject: Subject) -> None:
        """Every attack and a verdict on what should be gone; of what should have stayed, the scores alone."""
        label, case = subject.named.label, self._case(subject)
        if subject.role == "retain":
            self._begin_and_end(subject, case)
            return
        with self.folder.phase("attacks"):
            comparisons = self._plain(subject, case)
        comparisons += self._begin_and_end(subject, case)
        with self.folder.phase("attacks"):
            for name, attack in self.attacks.items():
                if name != PARTIAL:
                    comparisons += self._attack(subject, case, name, attack)
        self.folder.keep()
        verdict = judge(label, comparisons, self.config.evaluate.tolerance).to_json()
        self.record.verdicts.append(verdict | {"comparisons": [_plain_json(c) for c in comparisons]})

    def _begin_and_end(self, subject: Subject, case: Case) -> list[Comparison]:
        """Partial diffusion, and the scores of what it completes; nothing where the audit leaves it out."""
        label, attack = subject.named.label, self.attacks.get(PARTIAL)
        if attack is None:
            return []
        keys = {name: f"{label}/completed/{name}" for name in self.models}
        with self.folder.phase("partial diffusion"):
            done = self.units.do(
                f"{label}, {PARTIAL}",
                [(key, partial(self._complete, attack, case, label, name)) for name, key in keys.items()],
            )
            comparisons = self._by_psi(label, attack, done)
        with self.folder.phase("concealment scores"):
            self._score(subject, attack, self.config.evaluate.pool)
        return comparisons

    def _case(self, subject: Subject) -> Case:
        settings = self.config.evaluate
        return Case(
            concept=subject.named.label,
            name=subject.named.name,
            prompts=subject.turns(settings.images),
            seeds=tuple(self._first_seed + number for number in range(settings.images)),
            witness=self._witness(subject),
            sampling=self._sampling,
            original=self.models[ORIGINAL],
            neighbours=subject.neighbours,
            synonyms=subject.synonyms,
            paraphrases=subject.paraphrases,
        )

    def _plain(self, subject: Subject, case: Case) -> list[Comparison]:
        """How often each model shows the concept when it is simply asked."""
        label = subject.named.label

        def draw(name: str) -> Value:
            images = case.plain(self.models[name], name)
            shown = int(case.witness.shown(images).sum())
            self.units.keep_images(f"{label}/{PLAIN}/{name}", {"images": images[:SHOWN]})
            return {"shown": shown, "n": len(images)}

        names = {name: f"{label}/{PLAIN}/{name}" for name in self.models}
        done = self.units.do(f"{label}, {PLAIN}", [(key, partial(draw, name)) for name, key in names.items()])
        shares = {name: Share(done[key]["shown"], done[key]["n"]) for name, key in names.items()}
        self.record.results += [asr(label, PLAIN, name, found) for name, found in shares.items()]
        self._show(label, PLAIN, case)
        return [Comparison(PLAIN, "", shares)]

    def _complete(self, attack: PartialDiffusion, case: Case, label: str, name: str) -> Value:
        """Let one model end what the original has begun; its images are kept for the scores."""
        begun = case.once(attack, lambda: attack.start(case.original, case.prompts, case.seeds))
        done = attack.complete(self.models[name], begun)
        key = f"{label}/completed/{name}"
        self.units.keep_images(key, {"images": done.images})
        return {
            "psis": list(done.psis),
            "shown": [int(case.witness.shown(images).sum()) for images in done.images],
            "n": len(case.seeds),
            "forwards": {"begun": begun.forwards, "ended": done.forwards},
            "seconds": round(begun.seconds + done.seconds, 2),
        }

    def _by_psi(self, label: str, attack: PartialDiffusion, done: Mapping[str, Value]) -> list[Comparison]:
        """One comparison a psi; from the one on where the original has made the whole image there is nothing left."""
        by_model = {key.rpartition("/")[2]: value for key, value in done.items()}
        comparisons = []
        images = {name: self.units.images(f"{label}/completed/{name}")["images"] for name in self.models}
        for place, psi in enumerate(attack.psis):
            shares = {name: Share(value["shown"][place], value["n"]) for name, value in by_model.items()}
            strength = f"psi = {psi:g}"
            self.record.results += [asr(label, f"{PARTIAL}, {strength}", name, found) for name, found in shares.items()]
            for name, completed in images.items():
                self.pictures.write(f"{label}/{strength}/{name}", completed[place])
            self.record.examples += self.pictures.rows(
                label, "psi", strength, list(self.models), folder=f"{label}/{strength}", captions=[strength] * 4
            )
            comparisons.append(Comparison(PARTIAL, strength, shares))
        self._count(label, PARTIAL, attack.budget, by_model)
        return comparisons

    def _score(self, subject: Subject, attack: PartialDiffusion, pool: int) -> None:
        """CRS, CCS and the leak, from completed images and a pool of images of each of the two models."""
        label = subject.named.label

        def draw(name: str) -> Value:
            prompts, first = subject.turns(pool), POOL_SEEDS + self._first_seed
            images = self.models[name].images(prompts, range(first, first + pool), attack.sampling)
            self.units.keep_images(f"{label}/pool/{name}", {"images": images})
            return {"n": pool}

        self.units.do(
            f"{label}, images to compare with",
            [(f"{label}/pool/{name}", partial(draw, name)) for name in (ORIGINAL, UNLEARNED)],
        )
        done = self.units.do(f"{label}, scores", [(f"{label}/scores", lambda: self._measure(subject, attack))])
        self.record.results += [Result(**row) for row in done[f"{label}/scores"]["results"]]

    def _measure(self, subject: Subject, attack: PartialDiffusion) -> Value:
        label, settings = subject.named.label, self.config.evaluate
        pools = {name: self.units.images(f"{label}/pool/{name}")["images"] for name in (ORIGINAL, UNLEARNED)}
        completed = {name: self.units.images(f"{label}/completed/{name}")["images"] for name in self.models}
        probes = ConcealmentProbes(
            label=label,
            psis=attack.psis,
            completed=completed,
            original=pools[ORIGINAL],
            unlearned=pools[UNLEARNED],
            score=self._witness(subject).score,
            role=subject.role,
            training=Training(backbone=settings.backbone, seed=self.config.seed),
        )
        metrics = [kind() for kind in SUITES.get(settings.suite)]
        results = [asdict(r) for metric in metrics for name in self.models for r in metric.measure(probes, name)]
        return {"results": results}

    def _attack(self, subject: Subject, case: Case, name: str, attack: ConceptAttack) -> list[Comparison]:
        """One attack on every model."""
        label = subject.named.label

        def run(target: str) -> Value:
            if reason := attack.lacking(self.models[target], case):
                return {"skipped": reason}
            attempt = attack.attempt(self.models[target], case, target)
            self.units.keep_images(f"{label}/{name}/{target}", {"images": attempt.images[:SHOWN]})
            results = attempt.results(attack.version)
            if isinstance(attack, ConceptRelearning):
                results += attack.results_of(attempt)
            return {
                "results": [asdict(result) for result in results],
                "shown": int(attempt.succeeded.sum()),
                "n": len(attempt.seeds),
                "forwards": attempt.forwards,
                "seconds": round(attempt.seconds, 2),
                "details": dict(attempt.details),
            }

        keys = {target: f"{label}/{name}/{target}" for target in self.models}
        done = self.units.do(f"{label}, {name}", [(key, partial(run, target)) for target, key in keys.items()])
        by_model = {target: done[key] for target, key in keys.items()}
        for target, value in by_model.items():
            rows = value.get("results") or [
                asdict(
                    Result(name="asr", target=target, group=f"{label}, {name}", value=None, skipped=value["skipped"])
                )
            ]
            self.record.results += [Result(**row) for row in rows]
        self._show(label, name, case)
        self._count(label, name, attack.budget, by_model)
        shares = {t: Share(value["shown"], value["n"]) for t, value in by_model.items() if "shown" in value}
        return [Comparison(name, "", shares)] if UNLEARNED in shares else []

    # ---- parts --------------------------------------------------------------------------------------------------

    @property
    def _first_seed(self) -> int:
        return self.config.seed * 10_000_000

    @property
    def _sampling(self) -> Sampling:
        settings = self.config.evaluate
        return Sampling(
            steps=settings.steps, guidance=settings.guidance, scheduler="ddim", batch_size=settings.batch_size
        )

    def _witness(self, subject: Subject) -> Any:
        return self._witnesses(subject.named.label)

    @cached_property
    def _witnesses(self) -> Any:
        folder = None
        if self.config.model.source.startswith(LAB):
            folder = str(LABS.get(self.config.model.source.removeprefix(LAB))())
        found = {subject.named.label: witness_of(self.config.evaluate, subject, folder) for subject in self.subjects}
        return found.__getitem__

    def _describe(self) -> None:
        self.record.hashes |= {name: model.base_sha256 for name, model in self.models.items()}
        self.record.request = {
            "original": self.config.model.source,
            "unlearned": self.config.unlearned,
            "oracle": self.config.oracle,
            "concepts": [subject.named.label for subject in self.subjects if subject.role == "forget"],
            "retain": [subject.named.label for subject in self.subjects if subject.role == "retain"],
        }
        if ORACLE not in self.models:
            self.record.notes.append(
                "no oracle, a model trained without the concepts, went through the attacks: what they recover then "
                "proves little, and psi above about 0.5 proves nothing"
            )

    def _pair(self) -> str:
        """What audits have in common that may share their controls: everything but the model under audit."""
        rest = {k: v for k, v in self.config.resolved().items() if k not in ("unlearned", "controls")}
        rest["request"] = {**rest["request"], "force": False}
        for name, source in (("original", self.config.model.source), ("oracle", self.config.oracle)):
            if not source.startswith(LAB) and source not in ("auto", "never"):  # other weights may come to lie there
                revision = self.config.model.revision if source == self.config.model.source else None
                rest[name] = hash_source(find(source, revision))
        return hash_json(rest)[:16]

    def _show(self, label: str, attack: str, case: Case) -> None:
        for name in self.models:
            if images := self.units.images(f"{label}/{attack}/{name}"):
                self.pictures.write(f"{label}/{attack}/{name}", images["images"])
        self.record.examples += self.pictures.rows(
            label, "attack", attack, list(self.models), folder=f"{label}/{attack}", captions=list(case.prompts)
        )

    def _count(self, label: str, attack: str, budget: str, by_model: Mapping[str, Value]) -> None:
        """Budget and cost of an attack, one row of the record's rounds."""
        self.record.rounds.append(
            {
                "concept": label,
                "attack": attack,
                "budget": budget,
                "forwards": {name: value.get("forwards") for name, value in by_model.items()},
                "seconds": {name: value.get("seconds") for name, value in by_model.items()},
                "details": {name: value.get("details") for name, value in by_model.items()},
            }
        )

    def _forwards(self) -> dict[str, int]:
        return {name: model.meter.frozen + model.meter.trained for name, model in self.models.items()}


def prepare(config: AuditConfig) -> tuple[tuple[Subject, ...], dict[str, Any]]:
    """Concepts and attacks of a configuration.

    Raises:
        InputError: One of them cannot be used, or there is no model to audit.
    """
    subjects = read_subjects(config)
    if not config.unlearned:
        raise DataError("no model to audit: name a pipeline folder, a hub id or a patch (--unlearned)")
    settings = config.evaluate
    shared = {"steps": settings.steps, "guidance": settings.guidance, "batch_size": settings.batch_size}
    attacks = {}
    for name, given in config.attacks.items():
        own = {**shared, **given} if name == PARTIAL else given
        attacks[name] = build_attack(name, own, f"attacks.{name}.{{}}".format, seed=config.seed)
        if not isinstance(attacks[name], ConceptAttack | PartialDiffusion):
            raise MismatchError(f"attacks.{name}: this attack is not one on text-to-image pipelines")
    return subjects, attacks


def asr(label: str, attack: str, target: str, found: Share) -> Result:
    """A share of images in which the concept shows."""
    value, low, high = share(found.hits, found.n)
    group = f"{label}, {attack}"
    return Result(name="asr", target=target, value=value, low=low, high=high, n=found.n, group=group)


def _plain_json(comparison: Comparison) -> dict[str, Any]:
    shares = {name: {"shown": found.hits, "n": found.n} for name, found in comparison.shares.items()}
    return {"attack": comparison.attack, "strength": comparison.strength, "shares": shares}
