"""Text-to-image pipelines as a run sees them: concepts, images before and after, patches in three forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.config import ParametersConfig
from genunlearn.config.diffusion import DiffusionConfig
from genunlearn.contracts import Beside, Edit, Method, Outcome, Splits, with_sides
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.data.diffusion.concepts import with_images
from genunlearn.data.diffusion.requests import USUAL, ErasureRequest
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import RULE_FILE, ClassifierFree
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import BrokenModel, NeedNotMet
from genunlearn.evaluation.diffusion.detectors import JudgeDetector
from genunlearn.records import hash_files
from genunlearn.registry import LABS
from genunlearn.runs.diffusion.audit_models import open_unlearned
from genunlearn.runs.diffusion.measure import ImageProbe, Judges, target_share
from genunlearn.runs.diffusion.pipelines import (
    MODEL,
    PATCH,
    check_parts,
    check_source,
    open_pipeline,
    revision_of,
)
from genunlearn.runs.diffusion.request import is_lab, lab_name, read_request

KNOWN_FROM = 0.5
"""The original has to draw a concept at least this often for its erasure to mean anything."""

GENERAL_IMAGES, GENERAL_STEPS, GENERAL_GUIDANCE = 64, 20, 3.0
"""Images of each side for methods that train on images without knowing what a prompt is."""

CHECKED = 16
"""Images of each erased concept that are drawn to see whether training may stop."""

KEPT_METRICS = ("ira", "cra")
"""Accuracy on what must stay, within the erased concept's kind and outside it."""


class DiffusionFamily(Family[ErasureRequest, Diffusion]):
    """Text-to-image pipelines."""

    main_metric: ClassVar[str] = "ua"
    domain = Diffusion
    config: DiffusionConfig

    def request(self, method: Method) -> ErasureRequest:
        """Concepts and their prompts."""
        config = self.config
        request = read_request(config)
        if config.model.quantize != "none":
            raise NeedNotMet(
                f"model.quantize = {config.model.quantize!r}: pipelines are not trained in 4 bits; use none"
            )
        for source in (config.model.source, config.evaluate.oracle):
            check_source(source, revision_of(config, source))
        check_parts(judge=config.evaluate.judge, clip=config.evaluate.clip)
        return request

    def given(self, request: ErasureRequest) -> Mapping[str, bool]:
        """Concepts that must stay."""
        return {"retain": request.splits.retain is not None}

    def summary(self, request: ErasureRequest) -> str:
        """The concepts by name."""
        return f"to forget {', '.join(concept.label for concept in request.erased)}"

    def cannot_stop(self, request: ErasureRequest) -> str | None:
        """Somebody has to say whether images still show a concept."""
        if is_lab(self.config) or self.config.evaluate.judge:
            return None
        return "nobody says whether images show the concept; name a classifier in evaluate.judge"

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, request: ErasureRequest) -> Diffusion:
        """The pipeline, whose tokenizers must know the concepts."""
        model = open_pipeline(self.config)
        model.check_concepts(name for name in request.names if name)
        return model

    def base_sha256(self) -> str:
        """Of the pipeline's parts, once they are loaded."""
        return open_pipeline(self.config).base_sha256

    def reopen(self, request: ErasureRequest, folder: Path) -> Diffusion:
        """The base with the patch on it, or the whole pipeline."""
        return open_unlearned(self.config, str(folder), force=False)

    def why_no_oracle(self, request: ErasureRequest) -> str | None:
        """The lab trains one; for other pipelines one has to be named."""
        if self.config.evaluate.oracle == "never":
            return "evaluate.oracle = never"
        if self.config.evaluate.oracle == "auto" and not is_lab(self.config):
            return "no model retrained without the concepts is known; name one in evaluate.oracle"
        return None

    def oracles(self, request: ErasureRequest) -> Sequence[Diffusion]:
        """The one pipeline that never saw the concepts."""
        source = self.config.evaluate.oracle
        if source == "auto":
            without = [concept.label for concept in request.erased]
            source = str(LABS.get(lab_name(self.config), "diffusion")(without=without))
        return (open_pipeline(self.config, source),)

    def splits(self, request: ErasureRequest, model: Diffusion, method: Method) -> Splits[Any]:
        """Prompts; for methods that know no prompts, the original's images of them."""
        if method.trains_on == "request":
            return request.splits
        seed = self.config.seed
        made = with_images(request.splits, GENERAL_IMAGES, seed=seed, steps=GENERAL_STEPS, guidance=GENERAL_GUIDANCE)
        return with_sides(made, model.render(made.forget), model.render(made.retain) if made.retain else None)

    def attacked(self, request: ErasureRequest, beside: Beside[Diffusion]) -> Sequence[Splits[ConceptContext]]:
        """One concept after the other, with the prompts that it is measured by."""
        judge = self._judges(request).judge
        if judge is None:
            raise NeedNotMet("attacks need somebody who says what images show: name a classifier in evaluate.judge")
        usual, found = request.sets[USUAL], []
        others = [row for row in range(len(usual)) if not any(row in usual.rows(one) for one in request.erased)]
        for concept in request.erased:
            rows = usual.rows(concept)
            context = ConceptContext(
                concept=concept.label,
                name=concept.name,
                prompts=tuple(usual.prompts[row] for row in rows),
                seeds=tuple(usual.seeds[row] for row in rows),
                detector=JudgeDetector(judge, concept),
                sampling=self._sampling,
                original=beside.original,
                neighbours=tuple(usual.prompts[row] for row in others),
            )
            found.append(Splits(forget=request.splits.forget, retain=request.splits.retain, context=context))
        return found

    def trained(self, method: Method) -> ParametersConfig:
        """Where the configuration leaves it open, what the method's paper trains."""
        chosen = self.config.parameters
        if isinstance(method, Edit):  # it changes weights itself, in closed form
            return chosen.model_copy(update={"kind": "full"})
        if chosen.target_modules == "all-linear":
            return chosen.model_copy(update={"target_modules": getattr(method, "parameters", "full")})
        return chosen

    # ---- measurement -----------------------------------------------------------------------------------------

    def measure(self, model: Diffusion, request: ErasureRequest, target: str, beside: Beside[Diffusion]) -> Measurement:
        """Images of every set, what the judges see in them, and some of them in files."""
        assert beside.folder is not None
        settings, seed = self.config.evaluate, self.config.seed
        probe = ImageProbe(request, settings, self._judges(request), folder=beside.folder, watch=self.watch, seed=seed)
        return probe.measure(target, model, beside.measured.get("original"))

    def unknown(self, request: ErasureRequest, before: Measurement) -> list[str]:
        """Concepts that the original does not draw."""
        shares = {concept.label: target_share(before, concept.label) for concept in request.erased}
        return [
            f"{label} ({share:.0%} of its images show it)"
            for label, share in shares.items()
            if share is not None and share < KNOWN_FROM
        ]

    def recall(self, model: Diffusion, request: ErasureRequest) -> float:
        """Share of a few images of every erased concept that show it; the largest of the concepts."""
        usual, judge = request.sets[USUAL], self._judges(request).judge
        assert judge is not None  # see `cannot_stop`
        shares = []
        for concept in request.erased:
            rows = usual.rows(concept)[:CHECKED]
            images = model.images([usual.prompts[r] for r in rows], [usual.seeds[r] for r in rows], self._sampling)
            shares.append(float(JudgeDetector(judge, concept).shown(images).float().mean()))
        return max(shares)

    def damage(self, request: ErasureRequest, model: Diffusion, beside: Beside[Diffusion]) -> str | None:
        """What must stay is drawn far less often: by more than the tolerance, with the interval's upper end.

        Raises:
            BrokenModel: The images are no images any more.
        """
        before, after = beside.measured["original"], beside.measured["unlearned"]
        if problem := after["problem"]:
            raise BrokenModel(
                f"{self.config.method.name} has broken the model: {problem}; use fewer steps, a smaller learning rate "
                "or strength, or more concepts to preserve; nothing was exported"
            )
        levels = {(row["name"], row["group"]): row["value"] for row in before["results"]}
        for row in after["results"]:
            level = levels.get((row["name"], row["group"]))
            if row["name"] not in KEPT_METRICS or level is None or row["high"] is None:
                continue
            if row["high"] < level - self.config.evaluate.max_retain_loss:
                fell = f"{row['name'].upper()} of {row['group']} fell from {level:.2f} to {row['value']:.2f}"
                return f"{fell} (n={row['n']}); use fewer steps, or more concepts to preserve"
        return None

    @property
    def _sampling(self) -> Sampling:
        settings = self.config.evaluate
        return Sampling(steps=settings.steps, guidance=settings.guidance, batch_size=settings.batch_size)

    def _judges(self, request: ErasureRequest) -> Judges:
        if self._known_judges is None:
            self._known_judges = self._find_judges(request)
        return self._known_judges

    _known_judges: Judges | None = None

    def _find_judges(self, request: ErasureRequest) -> Judges:
        if is_lab(self.config):
            return Judges.of_lab(str(LABS.get(lab_name(self.config), "diffusion")()), request.erased)
        settings, names = self.config.evaluate, [concept.name for concept in request.erased]
        return Judges.of_user(settings.judge, settings.clip, names)

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: ErasureRequest, model: Diffusion) -> tuple[dict[str, Any], dict[str, Any]]:
        """Concepts and numbers of prompts; hashes of the base and the request."""
        retain = request.splits.retain or ()
        said = {
            "model": self.config.model.source,
            "concepts": [concept.label for concept in request.erased],
            "preserve": list(dict.fromkeys(prompt.concept for prompt in retain)),
            "forget_prompts": len(request.splits.forget),
            "preserve_prompts": len(retain),
        }
        return said, {"base": model.base_sha256, "request": request.sha256}

    def save(self, model: Diffusion, method: Method, outcome: Outcome, folder: Path) -> Written:
        """The smallest form in which the change is exact, unless one is asked for."""
        kind = self._export_kind(model, method, outcome)
        if kind is None:
            return self._save_rule(model, folder)
        target, hashes = folder / (MODEL if kind == "pipeline" else PATCH), {}
        if not target.exists():
            is_lora = self.config.parameters.kind == "lora" and not isinstance(method, Edit)
            if is_lora and kind not in ("lora", "kohya"):
                model.merge()
            if kind == "delta" and outcome.changed:  # what an edit has left alone is no part of the patch
                for name, weight in model.network.named_parameters():
                    weight.requires_grad_(name in outcome.changed)
            path = model.export(target, kind, rank=self.config.parameters.rank)
            hashes["patch"] = hash_files([path] if path.is_file() else sorted(path.rglob("*.safetensors")))
        return Written(hashes, f"written as {kind}: {target.name}/")

    def _save_rule(self, model: Diffusion, folder: Path) -> Written:
        """What is done while images are made, so that an audit can put it in force."""
        note = "no weight was changed: the method works while images are made"
        if model.rule == ClassifierFree():
            return Written(note=note)
        path = folder / PATCH / RULE_FILE
        if not path.exists():
            model.export(path.parent, "guidance")
        return Written({"patch": hash_files([path])}, f"{note}; written as guidance: {PATCH}/")

    def _export_kind(self, model: Diffusion, method: Method, outcome: Outcome) -> str | None:
        """None where no weight has changed."""
        wanted = self.config.export
        if isinstance(method, Edit) and not model.low_rank and not outcome.changed:
            return None
        if wanted != "auto":
            return wanted
        if isinstance(method, Edit):
            return "lora" if model.low_rank else "delta"
        return "lora" if self.config.parameters.kind == "lora" else "delta"

    def examples(self, request: ErasureRequest, measured: Mapping[str, Measurement]) -> list[dict[str, Any]]:
        """The images that were written, by prompt."""
        shown = next(iter(measured.values()))["shown"]
        return [
            {**caption, **{target: one["files"][number] for target, one in measured.items()}}
            for number, caption in enumerate(shown)
        ]
