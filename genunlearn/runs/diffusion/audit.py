"""Audits of text-to-image pipelines: concepts, images under attack, and scores of concealment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptAttack
from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.contracts import ANCHOR, ORACLE, ORIGINAL, SURROGATES, UNLEARNED, Attack
from genunlearn.contracts.family import Audit
from genunlearn.data.diffusion.requests import AuditedConcept, KeptPrompt
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.identity import hash_source
from genunlearn.domains.diffusion.pipelines import find
from genunlearn.domains.sources import hash_weights, resolve_folder
from genunlearn.errors import DataError
from genunlearn.evaluation.damage import what_fell
from genunlearn.evaluation.diffusion.concealment import ConcealmentProbes
from genunlearn.evaluation.diffusion.two_model_classifier import LEAST, FitConfig
from genunlearn.evaluation.verdicts import PLAIN, PRESENT_FROM
from genunlearn.ops.intervals import share
from genunlearn.ops.verdicts import Share
from genunlearn.records import Result
from genunlearn.registry import LAB, LABS, SUITES
from genunlearn.runs.diffusion.audit_contexts import Contexts
from genunlearn.runs.diffusion.audit_models import check_models, hash_patch, open_models
from genunlearn.runs.diffusion.audit_pictures import SHOWN, Pictures
from genunlearn.runs.diffusion.audit_request import KEPT_SEEDS, POOL_SEEDS, kept_prompts, read_subjects
from genunlearn.runs.diffusion.detector import Detectors
from genunlearn.runs.diffusion.pipelines import check_parts, revision_of
from genunlearn.runs.units import Units

KEPT = "what must stay"


class DiffusionAudit(Audit[AuditedConcept, Diffusion]):
    """An erased pipeline, its original and an oracle."""

    panel: ClassVar[Sequence[Sequence[str]]] = (
        ("partial_diffusion",), ("paraphrase",), ("adversarial_embedding", "textual_inversion"), ("concept_relearning",)
    )  # fmt: skip
    uncontrolled: str = (
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
        """Original, oracle and judges from elsewhere; the lab's are known by their names."""
        sources, given = {ORIGINAL: self.config.model.source, ORACLE: self.config.oracle}, self.config.evaluate
        judges = {"judge": given.judge, "clip": given.clip, "backbone": given.backbone}
        pipelines = {
            name: hash_source(find(source, revision_of(self.config, source)))
            for name, source in sources.items()
            if not source.startswith(LAB) and source not in ("auto", "never")
        }
        return pipelines | {name: hash_weights(resolve_folder(place)) for name, place in judges.items() if place}

    def open(self, forgotten: Sequence[str]) -> Mapping[str, Diffusion]:
        """Original, unlearned pipeline and, where there is one, oracle."""
        return open_models(self.config, forgotten)

    @override
    def begin(self, models: Mapping[str, Diffusion], units: Units, folder: Path) -> None:
        self._models, self._units, self._pictures = models, units, Pictures(folder)
        self._subjects, source = read_subjects(self.config), self.config.model.source
        lab = str(LABS.get(source.removeprefix(LAB), "diffusion")()) if source.startswith(LAB) else None
        names = [subject.named.name for subject in self._subjects]
        self._detectors = Detectors(self.config.evaluate, lab, names)
        self._contexts = Contexts(self.config, models, self._detectors)
        self._stayed: dict[str, Share] | None = None

    # ---- what must stay --------------------------------------------------------------------------------------

    def stayed(self) -> list[Result]:
        """Share of the images of other concepts that show these, on every model."""
        rows = []
        for target, found in self._kept().items():
            value, low, high = share(found.hits, found.n)
            rows.append(Result(name="kept", target=target, value=value, low=low, high=high, n=found.n, group=KEPT))
        return rows

    def damage(self, target: str = UNLEARNED) -> str | None:
        """Other concepts are recognised far less often than in the original's images."""
        if not (found := self._kept()):
            return None
        most = self.config.evaluate.max_retain_loss
        return what_fell("recognition of what must stay", found[ORIGINAL], found[target], most)

    def unguarded(self) -> str | None:
        """Nobody knows what must stay, or the original does not draw it."""
        if not (found := self._kept()):
            return "nobody looks at what must stay; name some of it in request.retain"
        if (own := found[ORIGINAL]).value < PRESENT_FROM:
            return (
                f"the original shows what must stay in {own.hits} of {own.n} images alone, so that damage cannot be "
                "seen; name concepts that it draws in request.retain"
            )
        return None

    def _kept(self) -> dict[str, Share]:
        """By model, how many images of what must stay show it; nothing where nobody knows what that is."""
        if self._stayed is None:
            prompts = kept_prompts(self.config, self._detectors.labels)
            units = {target: f"{KEPT}/{target}" for target in (self._models if prompts else ())}
            work = [(unit, partial(self._draw_kept, prompts, target)) for target, unit in units.items()]
            found = self._units.do(KEPT, work)
            self._stayed = {target: Share(found[unit]["hits"][0], found[unit]["n"]) for target, unit in units.items()}
        return self._stayed

    def _draw_kept(self, prompts: Sequence[KeptPrompt], target: str) -> dict[str, Any]:
        first = KEPT_SEEDS + self._contexts.first_seed
        sampling = self._contexts.of(self._subjects[0], target).sampling
        images = self._models[target].images(
            [prompt.text for prompt in prompts], range(first, first + len(prompts)), sampling
        )
        named = list(dict.fromkeys(concept for prompt in prompts for concept in prompt.concepts))
        seen = {c: self._detectors.of_kept(c, [other.name for other in named]).shown(images).tolist() for c in named}
        hits = sum(all(seen[c][row] for c in prompt.concepts) for row, prompt in enumerate(prompts))
        return {"strengths": [""], "hits": [hits], "n": len(prompts)}

    # ---- drawing and attacking -------------------------------------------------------------------------------

    def surrogates(self, subject: AuditedConcept) -> str:
        """The original asked for the anchor, and for decoys."""
        if ORACLE in self._models or subject.anchor is None or subject.role == "retain":
            return ""
        return f"the original asked for {subject.anchor.label!r}, and for decoys that no model knows"

    def looks(self) -> Sequence[int]:
        """Twice as many images at each."""
        return self._contexts.sizes

    def plain(self, subject: AuditedConcept, target: str, look: int = 0) -> dict[str, Any]:
        """How many images of plain prompts show the concept."""
        context = self._contexts.of(subject, target, look)
        images = context.plain(self._model(target), target)
        shown = int(context.detector.shown(images).sum())
        if not look:
            self._units.keep_images(f"{subject.label}/{PLAIN}/{target}", {"images": images[:SHOWN]})
        return {"strengths": [""], "hits": [shown], "n": len(images)}

    def lacking(self, subject: AuditedConcept, attack: ConceptAttack) -> str | None:
        """What the attack cannot do without and is not there."""
        return attack.missing(self._models[UNLEARNED], self._contexts.of(subject, UNLEARNED))

    def attempt(self, subject: AuditedConcept, attack: ConceptAttack, target: str, look: int = 0) -> dict[str, Any]:
        """One attack on one model; images of scored attacks are kept whole."""
        if attack.learns and target == ANCHOR:
            return {"skipped": "learns from images of the concept: decoys are its control"}
        context, model = self._contexts.of(subject, target, look, learns=attack.learns), self._model(target)
        if reason := attack.missing(model, context):
            return {"skipped": reason}
        found = attack.attempt(model, context, target)
        if not look:
            images = torch.stack([level.images for level in found.levels]) if attack.is_scored else found.images[:SHOWN]
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
        count, first = self.config.evaluate.pool, POOL_SEEDS + self._contexts.first_seed

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
            score=self._detectors.of(subject).score,
            role=subject.role,
            training=FitConfig(backbone=self.config.evaluate.backbone, seed=self.config.seed),
        )
        suite = SUITES.get(self.config.evaluate.suite, "diffusion")
        return [result for name in self._models for result in suite.measure(probes, name)]

    def examples(self, subject: AuditedConcept, attack: str, strengths: Sequence[str]) -> list[dict[str, Any]]:
        """The same seeds from every model, a row an image; by strength where there are several."""
        label, rows = subject.label, []
        names = [*self._models, *(SURROGATES if self.surrogates(subject) else ())]
        for place, strength in enumerate(strengths):
            what = strength or attack
            for name in names:
                unit = f"{label}/{'completed' if strength else attack}/{name}"
                if images := self._units.images(unit):
                    drawn = images["images"]
                    self._pictures.write(f"{label}/{what}/{name}", drawn[place] if strength else drawn)
            captions = [strength] * SHOWN if strength else self._prompts(subject, attack, names)
            kind = "psi" if strength else "attack"
            rows += self._pictures.rows(label, kind, what, names, folder=f"{label}/{what}", captions=captions)
        return rows

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Models and concepts; hashes of the weights."""
        by_role: dict[str, list[str]] = {"forget": [], "retain": []}
        for subject in self._subjects:
            by_role[subject.role].append(subject.label)
        said = {
            "original": self.config.model.source,
            "unlearned": self.config.unlearned,
            "oracle": self.config.oracle,
            "concepts": by_role["forget"],
            "retain": by_role["retain"],
        }
        hashes = {name: model.base_sha256 for name, model in self._models.items()}
        if patch := hash_patch(self.config.unlearned):
            hashes["patch"] = patch
        return said, hashes

    def forwards(self) -> Mapping[str, int]:
        """Evaluations of each denoiser."""
        return {name: model.meter.frozen + model.meter.trained for name, model in self._models.items()}

    # ---- parts -----------------------------------------------------------------------------------------------

    def _model(self, target: str) -> Diffusion:
        """A model; the original for surrogates."""
        return self._models.get(target, self._models[ORIGINAL])

    def _prompts(self, subject: AuditedConcept, attack: str, names: Sequence[str]) -> list[str]:
        """What was asked for each image; by model where they were asked in different words."""
        used: dict[str, Sequence[str]] = {}
        for name in names:
            found = {} if attack == PLAIN else self._units.value(f"{subject.label}/{attack}/{name}")
            if "skipped" not in found:
                plain = self._contexts.of(subject, name).prompts
                used[name] = (found.get("details") or {}).get("prompts") or plain
        captions = []
        for texts in list(zip(*used.values(), strict=False))[:SHOWN]:  # audits begun earlier keep fewer
            asked = dict(zip(used, texts, strict=True))
            own = {asked[name] for name in self._models if name in asked}
            told = [f"{name}: {text}" for name, text in asked.items()]
            captions.append(own.pop() if len(own) == 1 else "; ".join(told))
        return captions

    def _unit(self, subject: AuditedConcept, attack: Any, target: str) -> str:
        return f"{subject.label}/{'completed' if attack.is_scored else attack.name}/{target}"
