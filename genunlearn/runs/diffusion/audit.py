"""Audits of text-to-image pipelines: concepts, images under attack, and scores of concealment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptAttack, ConceptContext
from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED, Attack
from genunlearn.contracts.family import Audit
from genunlearn.data.diffusion.requests import AuditedConcept
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.identity import hash_source
from genunlearn.domains.diffusion.pipelines import find
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.concealment import ConcealmentProbes
from genunlearn.evaluation.diffusion.two_model_classifier import LEAST, FitConfig
from genunlearn.evaluation.verdicts import PLAIN
from genunlearn.records import Result
from genunlearn.registry import LAB, LABS, SUITES
from genunlearn.runs.diffusion.audit_models import check_models, open_models
from genunlearn.runs.diffusion.audit_pictures import SHOWN, Pictures
from genunlearn.runs.diffusion.audit_request import POOL_SEEDS, read_subjects
from genunlearn.runs.diffusion.detector import detector_of
from genunlearn.runs.diffusion.pipelines import check_parts, revision_of
from genunlearn.runs.units import Units


class DiffusionAudit(Audit[AuditedConcept, Diffusion]):
    """An erased pipeline, its original and an oracle."""

    uncontrolled: ClassVar[str] = (
        "no oracle, a model trained without the concepts, went through the attacks: what they recover then proves "
        "little, and psi above about 0.5 proves nothing"
    )
    config: DiffusionAuditConfig

    def subjects(self) -> Sequence[AuditedConcept]:
        """The concepts, once the models are found to be there."""
        subjects, pool = read_subjects(self.config), self.config.evaluate.pool
        if pool < 2 * LEAST:
            raise DataError(
                f"evaluate.pool = {pool}: too few images of each model to train and test a classifier that tells them "
                f"apart; set at least {2 * LEAST}"
            )
        check_models(self.config)
        given = self.config.evaluate
        check_parts(judge=given.judge, clip=given.clip, backbone=given.backbone)
        return subjects

    def shared_fields(self, attack: type[Attack[Any]]) -> Mapping[str, Any]:
        """Scored images are made like all others of the audit."""
        settings = self.config.evaluate
        shared = {"steps": settings.steps, "guidance": settings.guidance, "batch_size": settings.batch_size}
        return shared if getattr(attack, "is_scored", False) else {}

    def weights(self) -> Mapping[str, str]:
        """Original and oracle from elsewhere; the lab's are known by their names."""
        sources = {ORIGINAL: self.config.model.source, ORACLE: self.config.oracle}
        return {
            name: hash_source(find(source, revision_of(self.config, source)))
            for name, source in sources.items()
            if not source.startswith(LAB) and source not in ("auto", "never")
        }

    def open(self, forgotten: Sequence[str]) -> Mapping[str, Diffusion]:
        """Original, unlearned pipeline and, where there is one, oracle."""
        return open_models(self.config, forgotten)

    @override
    def begin(self, models: Mapping[str, Diffusion], units: Units, folder: Path) -> None:
        self._models, self._units, self._pictures = models, units, Pictures(folder)
        self._detectors: dict[str, Any] = {}
        self._contexts: dict[str, ConceptContext] = {}

    def plain(self, subject: AuditedConcept, target: str) -> dict[str, Any]:
        """How many images of plain prompts show the concept."""
        context = self._context(subject)
        images = context.plain(self._models[target], target)
        shown = int(context.detector.shown(images).sum())
        self._units.keep_images(f"{subject.label}/{PLAIN}/{target}", {"images": images[:SHOWN]})
        return {"strengths": [""], "hits": [shown], "n": len(images)}

    def attempt(self, subject: AuditedConcept, attack: ConceptAttack, target: str) -> dict[str, Any]:
        """One attack on one model; images of scored attacks are kept whole."""
        context, model = self._context(subject), self._models[target]
        if reason := attack.missing(model, context):
            return {"skipped": reason}
        found = attack.attempt(model, context, target)
        images = found.images if attack.is_scored else found.images[:SHOWN]
        self._units.keep_images(self._unit(subject, attack, target), {"images": images})
        return {
            "results": [asdict(result) for result in attack.results_of(found)],
            "strengths": [level.strength for level in found.levels],
            "hits": list(found.hits),
            "n": len(found.seeds),
            "forwards": found.forwards,
            "seconds": round(found.seconds, 2),
            "details": dict(found.details),
        }

    def is_scored(self, attack: ConceptAttack) -> bool:
        """Whether concealment scores are computed from its images."""
        return attack.is_scored

    def gather(self, subject: AuditedConcept, attack: Any) -> None:
        """Images of either model that completions are held against."""
        count, first = self.config.evaluate.pool, POOL_SEEDS + self._first_seed

        def draw(name: str) -> dict[str, Any]:
            prompts = subject.turns(count)
            images = self._models[name].images(prompts, range(first, first + count), attack.sampling)
            self._units.keep_images(f"{subject.label}/pool/{name}", {"images": images})
            return {"n": count}

        units = [(f"{subject.label}/pool/{name}", partial(draw, name)) for name in (ORIGINAL, UNLEARNED)]
        self._units.do(f"{subject.label}, images to compare with", units)

    def scores(self, subject: AuditedConcept, attack: Any) -> list[Result]:
        """CRS, CCS and the leak, from completed images and a pool of images of each of the two models."""
        pools = {name: self._units.images(f"{subject.label}/pool/{name}")["images"] for name in (ORIGINAL, UNLEARNED)}
        completed = {name: self._units.images(self._unit(subject, attack, name))["images"] for name in self._models}
        probes = ConcealmentProbes(
            label=subject.label,
            psis=attack.psis,
            completed=completed,
            original=pools[ORIGINAL],
            unlearned=pools[UNLEARNED],
            score=self._detector(subject).score,
            role=subject.role,
            training=FitConfig(backbone=self.config.evaluate.backbone, seed=self.config.seed),
        )
        suite = SUITES.get(self.config.evaluate.suite, "diffusion")
        return [result for name in self._models for result in suite.measure(probes, name)]

    def examples(self, subject: AuditedConcept, attack: str, strengths: Sequence[str]) -> list[dict[str, Any]]:
        """The same seeds from every model, a row an image; by strength where there are several."""
        label, names, rows = subject.label, list(self._models), []
        for place, strength in enumerate(strengths):
            what = strength or attack
            for name in names:
                unit = f"{label}/{'completed' if strength else attack}/{name}"
                if images := self._units.images(unit):
                    drawn = images["images"]
                    self._pictures.write(f"{label}/{what}/{name}", drawn[place] if strength else drawn)
            captions = [strength] * SHOWN if strength else list(self._context(subject).prompts)
            kind = "psi" if strength else "attack"
            rows += self._pictures.rows(label, kind, what, names, folder=f"{label}/{what}", captions=captions)
        return rows

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Models and concepts; hashes of the weights."""
        by_role: dict[str, list[str]] = {"forget": [], "retain": []}
        for subject in read_subjects(self.config):
            by_role[subject.role].append(subject.label)
        said = {
            "original": self.config.model.source,
            "unlearned": self.config.unlearned,
            "oracle": self.config.oracle,
            "concepts": by_role["forget"],
            "retain": by_role["retain"],
        }
        return said, {name: model.base_sha256 for name, model in self._models.items()}

    def forwards(self) -> Mapping[str, int]:
        """Evaluations of each denoiser."""
        return {name: model.meter.frozen + model.meter.trained for name, model in self._models.items()}

    # ---- parts -----------------------------------------------------------------------------------------------

    def _context(self, subject: AuditedConcept) -> ConceptContext:
        if subject.label not in self._contexts:
            settings = self.config.evaluate
            first = self._first_seed
            self._contexts[subject.label] = ConceptContext(
                concept=subject.label,
                name=subject.named.name,
                prompts=subject.turns(settings.images),
                seeds=tuple(range(first, first + settings.images)),
                detector=self._detector(subject),
                sampling=Sampling(
                    steps=settings.steps, guidance=settings.guidance, scheduler="ddim", batch_size=settings.batch_size
                ),
                original=self._models[ORIGINAL],
                neighbours=subject.neighbours,
                synonyms=subject.synonyms,
                paraphrases=subject.paraphrases,
            )
        return self._contexts[subject.label]

    def _detector(self, subject: AuditedConcept) -> Any:
        if subject.label not in self._detectors:
            source = self.config.model.source
            lab = str(LABS.get(source.removeprefix(LAB), "diffusion")()) if source.startswith(LAB) else None
            self._detectors[subject.label] = detector_of(self.config.evaluate, subject, lab)
        return self._detectors[subject.label]

    def _unit(self, subject: AuditedConcept, attack: Any, target: str) -> str:
        return f"{subject.label}/{'completed' if attack.is_scored else attack.name}/{target}"

    @property
    def _first_seed(self) -> int:
        return self.config.seed * 10_000_000
