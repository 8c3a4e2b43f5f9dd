"""A run on a text-to-image pipeline: load, look, erase, look again, write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genunlearn.config import ConceptConfig, ParametersConfig
from genunlearn.contracts import Edit, Outcome, Splits, with_sides
from genunlearn.data.diffusion.concepts import with_images
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import RULE_FILE, ClassifierFree
from genunlearn.domains.diffusion.pipelines import check as check_pipeline
from genunlearn.domains.diffusion.pipelines import find
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import BrokenModel, DataError, NeedNotMet
from genunlearn.records import Result, RunRecord, hash_files
from genunlearn.registry import LAB, LABS
from genunlearn.runs.diffusion.measure import Looks, Panel, target_share
from genunlearn.runs.diffusion.request import ConceptRequest, is_lab, lab_name, read_request
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_method
from genunlearn.runs.unlearning import carry_out, unlearn_in

PATCH, MODEL = "patch", "model"
KNOWN_FROM = 0.5
"""The original has to draw a concept at least this often for its erasure to mean anything."""

GENERAL_IMAGES, GENERAL_STEPS, GENERAL_GUIDANCE = 64, 20, 3.0
"""Images of each side for methods that train on images without knowing what a prompt is."""


class ConceptRun:
    """One run of one method on one request; training can be resumed, and what was measured stays measured."""

    def __init__(self, config: ConceptConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: See the functions that are called here; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.method, self.request = prepare(config)
        for source in (config.model.source, config.evaluate.oracle):
            check_source(source, config.model.revision if source == config.model.source else None)
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch)

    @staticmethod
    def check(config: ConceptConfig) -> str:
        """Check what needs no weights; says in a few words what the run would do."""
        method, request = prepare(config)
        names = ", ".join(concept.label for concept in request.erased)
        return f"{method.name} on {config.model.source}, to forget {names}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded():
            model = self._open()
            looks = Looks(self.folder, self.request, self.config.evaluate, self._panel(), self.config.seed)
            before = looks.at("original", model)
            self._check_known(before)
            self._describe(model)
            outcome = self._erase(model)
            after = looks.at("unlearned", model)
            self._write_down(model, {"original": before, "unlearned": after})
            self._refuse_broken(looks, outcome)
            self._save(model, outcome)
            self._write_down(model, {"original": before, "unlearned": after, **self._oracle(looks)})
        return self.record

    # ---- steps ---------------------------------------------------------------------------------------------

    def _open(self) -> Diffusion:
        with self.folder.phase("load"):
            self.watch.announce(f"loading {self.config.model.source}")
            model = open_pipeline(self.config)
        model.check_concepts(name for name in self.request.names if name)
        return model

    def _panel(self) -> Panel:
        """Who says what images show."""
        settings, kinds = self.config.evaluate, {concept.kind for concept in self.request.erased}
        if is_lab(self.config):
            return Panel.of_lab(str(LABS.get(lab_name(self.config))()), self.request.erased)
        assert kinds == {"concept"}
        return Panel.of_user(settings.judge, settings.clip, [concept.name for concept in self.request.erased])

    def _check_known(self, before: Mapping[str, Any]) -> None:
        for concept in self.request.erased:
            share = target_share(before, concept.label)
            if share is not None and share < KNOWN_FROM and not self.config.request.force:
                raise DataError(
                    f"{concept.label}: the model does not draw it to begin with ({share:.0%} of its images show it), "
                    "so there is nothing to forget; request.force = true goes on all the same"
                )

    def _describe(self, model: Diffusion) -> None:
        retain = self.request.splits.retain or ()
        self.record.hashes |= {"base": model.base_sha256, "request": self.request.sha256}
        self.record.request = {
            "model": self.config.model.source,
            "concepts": [concept.label for concept in self.request.erased],
            "preserve": list(dict.fromkeys(prompt.concept for prompt in retain)),
            "forget_prompts": len(self.request.splits.forget),
            "preserve_prompts": len(retain),
        }

    def _erase(self, model: Diffusion) -> Outcome:
        frozen = model.meter.frozen

        def work(trainer: Trainer) -> Outcome:
            splits = self._splits(model)
            return carry_out(self.method, trainer, splits, self.folder.journal, seed=self.config.seed)

        outcome = unlearn_in(self.folder, self.config, model, self._parameters(), work)
        self.record.cost |= {"teacher_forwards": model.meter.frozen - frozen}
        return outcome

    def _parameters(self) -> ParametersConfig:
        """What is trained: where the configuration leaves it open, what the method's paper trains."""
        chosen = self.config.parameters
        if isinstance(self.method, Edit):  # it changes weights itself, in closed form
            return chosen.model_copy(update={"kind": "full"})
        if chosen.target_modules == "all-linear":
            return chosen.model_copy(update={"target_modules": getattr(self.method, "parameters", "full")})
        return chosen

    def _splits(self, model: Diffusion) -> Splits:
        """Prompts; for methods that know no prompts, the original's images of them."""
        if not self.method.is_general:
            return self.request.splits
        made = with_images(
            self.request.splits,
            GENERAL_IMAGES,
            seed=self.config.seed,
            steps=GENERAL_STEPS,
            guidance=GENERAL_GUIDANCE,
        )
        return with_sides(made, model.render(made.forget), model.render(made.retain) if made.retain else None)

    def _refuse_broken(self, looks: Looks, outcome: Outcome) -> None:
        if problem := looks.broken("unlearned"):
            self.record.outcome = "broken"
            raise BrokenModel(
                f"{self.method.name} has broken the model: {problem} ({outcome.reason}); use fewer steps, a smaller "
                "learning rate or strength, or more concepts to preserve; nothing was exported"
            )

    def _save(self, model: Diffusion, outcome: Outcome) -> None:
        if not self.folder.is_main:
            return
        kind = self._export_kind(model, outcome)
        if kind is None:
            self.record.notes.append("no weight was changed: the method works while images are made")
            self._save_rule(model)
            return
        target = self.folder.path / (MODEL if kind == "pipeline" else PATCH)
        if not target.exists():
            is_lora = self.config.parameters.kind == "lora" and not isinstance(self.method, Edit)
            if is_lora and kind not in ("lora", "kohya"):
                model.merge()
            if kind == "delta" and outcome.changed:  # what an edit has left alone is no part of the patch
                for name, weight in model.network.named_parameters():
                    weight.requires_grad_(name in outcome.changed)
            path = model.export(target, kind, rank=self.config.parameters.rank)
            self.record.hashes["patch"] = hash_files([path] if path.is_file() else sorted(path.rglob("*.safetensors")))
        self.record.notes.append(f"written as {kind}: {target.name}/")

    def _save_rule(self, model: Diffusion) -> None:
        """Write what is done while images are made, so that an audit can put it in force."""
        if model.rule == ClassifierFree():
            return
        path = self.folder.path / PATCH / RULE_FILE
        if not path.exists():
            model.export(path.parent, "guidance")
        self.record.hashes["patch"] = hash_files([path])
        self.record.notes.append(f"written as guidance: {PATCH}/")

    def _export_kind(self, model: Diffusion, outcome: Outcome) -> str | None:
        """The form in which the change is exact, unless one is asked for; None where no weight has changed."""
        wanted = self.config.export
        if isinstance(self.method, Edit) and not model.low_rank and not outcome.changed:
            return None
        if wanted != "auto":
            return wanted
        if isinstance(self.method, Edit):
            return "lora" if model.low_rank else "delta"
        return "lora" if self.config.parameters.kind == "lora" else "delta"

    def _oracle(self, looks: Looks) -> dict[str, Any]:
        choice = self.config.evaluate.oracle
        if choice == "never":
            reason = "evaluate.oracle = never"
        elif choice == "auto" and not is_lab(self.config):
            reason = "no model retrained without the concepts is known; name one in evaluate.oracle"
        else:
            with self.folder.phase("oracle"):
                model = open_pipeline(self.config, self._oracle_source(choice))
            return {"oracle": looks.at("oracle", model)}
        self.record.notes.append(f"no oracle row: {reason}")
        self.record.results.append(Result(name="ua", target="oracle", value=None, skipped=reason))
        return {}

    def _oracle_source(self, choice: str) -> str:
        if choice != "auto":
            return choice
        return str(LABS.get(lab_name(self.config))(without=[concept.label for concept in self.request.erased]))

    def _write_down(self, model: Diffusion, looks: Mapping[str, Mapping[str, Any]]) -> None:
        skipped = [result for result in self.record.results if result.skipped]
        self.record.results = [Result(**row) for look in looks.values() for row in look["results"]] + skipped
        self.record.examples = [
            {**shown, **{target: look["files"][number] for target, look in looks.items()}}
            for number, shown in enumerate(next(iter(looks.values()))["shown"])
        ]
        meter = asdict(model.meter)
        self.record.cost |= {"forwards": meter, "peak_memory_mb": peak_memory_mb()}


def prepare(config: ConceptConfig) -> tuple[Any, ConceptRequest]:
    """Method and request of a configuration, checked against each other.

    Raises:
        InputError: One of them cannot be used.
    """
    method = build_method(config.method, seed=config.seed)
    request = read_request(config)
    method.check(config.domain, retain=request.splits.retain is not None)
    if config.model.quantize != "none":
        raise NeedNotMet(f"model.quantize = {config.model.quantize!r}: pipelines are not trained in 4 bits; use none")
    return method, request


def check_source(source: str, revision: str | None = None) -> None:
    """Refuse a pipeline that is not there or not complete, before anything is written.

    Raises:
        SourceNotFound: It cannot be used.
        NameNotFound: The lab has none of this name.
    """
    if source in ("auto", "never"):
        return
    if source.startswith(LAB):
        LABS.line(source.removeprefix(LAB))
    else:
        check_pipeline(find(source, revision))


def open_pipeline(config: ConceptConfig, source: str | None = None) -> Diffusion:
    """Load the pipeline of a configuration, or another one in the same manner."""
    settings, source = config.model, source or config.model.source
    folder = str(LABS.get(source.removeprefix(LAB))()) if source.startswith(LAB) else source
    revision = settings.revision if source == settings.source else None
    return Diffusion.load(folder, revision=revision, dtype=settings.dtype, device=settings.device)
