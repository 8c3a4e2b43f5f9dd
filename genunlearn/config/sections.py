"""What a configuration says: one section a topic, one kind of run a domain; defaults, bounds and meanings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from genunlearn.records import hash_json


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, defaults checked, no silent casts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class ModelConfig(Section):
    """Which model, and how it is loaded."""

    source: Annotated[str, Field(min_length=1)] = "lab:lm"
    """Hub id, local folder in the hub's format, or ``lab:NAME``."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    quantize: Literal["none", "nf4"] = "none"
    """``nf4`` loads the base in 4 bits (bitsandbytes); only LoRA can be trained on it."""
    device: str = "auto"
    prompts: str = "auto"
    """Prompt suite; ``auto`` takes ``lab`` for lab models and ``instruct`` for all others."""


class FactRequestConfig(Section):
    """What is to be forgotten, and what is known to surround it."""

    facts: tuple[str, ...] = ()
    """Facts as ``"subject | relation | object"`` or lab fact ids."""
    question: str | None = None
    """The question that a single fact from `facts` answers (hub and local models)."""
    file: str | None = None
    """Facts as JSON lines or CSV."""
    forget: str | None = None
    """Question-answer pairs to forget: a file, ``FOLDER:NAME``, or ``OWNER/NAME:CONFIG[:SPLIT]`` of the hub."""
    retain: str | None = None
    """Question-answer pairs (or facts) to keep, in the same forms."""
    force: bool = False
    """Go on even if the model does not know what it is to forget."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only the first rows of `forget`."""


class MethodConfig(BaseModel):
    """The method's name and its hyper-parameters; the method's own class checks the latter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Annotated[str, Field(min_length=1)] = "unstar"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class ParametersConfig(Section):
    """Which weights are trained."""

    kind: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    """``all-linear``, a regular expression, or names of modules."""


class TrainConfig(Section):
    """The training loop."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Examples of each side in one forward pass, over all processes."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps; a protocol spends them over its rounds."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    save_every: Annotated[int, Field(ge=1)] = 10
    """A killed run loses at most this many steps."""
    stop_recall: Annotated[float, Field(ge=0, le=1)] | None = None
    """Objectives only: stop once the forget recall, checked every `check_every` steps, is at most this."""
    check_every: Annotated[int, Field(ge=1)] = 5


class FactEvaluateConfig(Section):
    """What is measured on a language model, before and after."""

    suite: Literal["facts", "facts-quick"] = "facts"
    samples: Annotated[int, Field(ge=0)] = 8
    """Sampled answers a question for the leak rate; 0 leaves it out."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    oracle: Literal["auto", "never"] | str = "auto"
    """``auto`` retrains lab models without the facts; a path or hub id names a model; ``never`` leaves it out."""
    batch_size: Annotated[int, Field(ge=1)] = 128


class ConceptRequestConfig(Section):
    """What a text-to-image model is to forget, and what it must go on drawing."""

    concepts: tuple[str, ...] = ()
    """``NAME``, ``NAME / SYNONYM`` or ``NAME -> ANCHOR``; the anchor is what is drawn instead."""
    preserve: tuple[str, ...] = ()
    """Concepts that must stay, in the same form, and on which methods may train; in the lab ``auto`` names all others
    of the concepts' kind."""
    templates: tuple[str, ...] = ()
    """Prompts with ``{}`` for the concept, by default ``a photo of {}`` and the like; the lab has its own."""
    force: bool = False
    """Go on even if the model does not draw what it is to forget."""


class ImageEvaluateConfig(Section):
    """What is measured on a text-to-image model, before and after."""

    suite: Literal["images", "images-quick"] = "images"
    images: Annotated[int, Field(ge=1)] = 64
    """Images of each erased concept; the concepts beside it share four times as many."""
    steps: Annotated[int, Field(ge=1)] = 20
    guidance: Annotated[float, Field(ge=0)] = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 64
    judge: str | None = None
    """Folder of an image classifier that says what images show; the lab has its own."""
    clip: str | None = None
    """CLIP model for scores on pipelines from elsewhere."""
    prompts: str | None = None
    """CSV with columns ``prompt``, ``concept`` (empty for what must stay) and perhaps ``seed``."""
    oracle: Literal["auto", "never"] | str = "never"
    """``auto`` retrains the lab without the concepts; a path or hub id names a pipeline; ``never`` leaves it out."""


class ItemRequestConfig(Section):
    """Which examples a classifier or regressor is to forget."""

    forget: str | None = None
    """``KIND:VALUE``: ``class:3``, ``subclass:4``, ``random:0.1``, ``range:..75``, ``confidence:0.1`` or
    ``influence:100`` (the hardest), ``index:FILE``, ``mask:FILE``; empty where the data has a split ``forget``."""
    data: str | None = None
    """Folder of a data set with the splits ``train`` and ``test``, or ``forget``, ``retain`` and ``test``; lab models
    bring theirs."""
    retain: Literal["all", "none"] = "all"
    """Whether the method is given what must stay; it is measured in either case."""


class ItemEvaluateConfig(Section):
    """What is measured on a classifier or regressor, before and after."""

    suite: Literal["auto", "classifier", "regression"] = "auto"
    """``auto`` is the one of the domain."""
    attacks: tuple[str | MethodConfig, ...] | None = None
    """Names of attacks, or mappings with a ``name`` and a budget; by default the usual ones of the domain."""
    oracles: Annotated[int, Field(ge=0, le=3)] = 3
    """Models of the lab that are retrained without the forget set, one a seed."""
    oracle_folders: tuple[str, ...] = ()
    """Models from elsewhere that never saw the forget set."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Loss of retain accuracy that counts as a collapse; for regressors the rise of the mean absolute error, as a share
    of the targets' standard deviation."""
    batch_size: Annotated[int, Field(ge=1)] = 256


class RunConfig(Section):
    """Everything that decides what a run does; each domain has its own request and its own evaluation."""

    task: Literal["unlearn", "audit"] = "unlearn"
    domain: str
    model: ModelConfig = ModelConfig()
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def kind(self) -> str:
        """What `genunlearn.registry.RUNS` and ``REPORTS`` file it under: its domain, or ``audit``."""
        return self.domain if self.task == "unlearn" else self.task

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain JSON data, defaults filled in."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Hash of the resolved configuration."""
        return hash_json(self.resolved())


class UnlearnConfig(RunConfig):
    """A run that changes a model."""

    method: MethodConfig = MethodConfig()
    parameters: ParametersConfig = ParametersConfig()
    train: TrainConfig = TrainConfig()


class FactConfig(UnlearnConfig):
    """A run on a language model."""

    domain: Literal["lm"] = "lm"
    request: FactRequestConfig = FactRequestConfig()
    evaluate: FactEvaluateConfig = FactEvaluateConfig()


class ConceptConfig(UnlearnConfig):
    """A run on a text-to-image pipeline."""

    domain: Literal["diffusion"] = "diffusion"
    request: ConceptRequestConfig = ConceptRequestConfig()
    evaluate: ImageEvaluateConfig = ImageEvaluateConfig()
    export: Literal["auto", "lora", "kohya", "delta", "unet", "pipeline"] = "auto"
    """What is written: a LoRA that diffusers loads, the changed tensors alone, or the whole pipeline; ``auto`` is the
    smallest form that is exact."""


class ItemConfig(UnlearnConfig):
    """A run on a classifier or a regressor."""

    domain: Literal["classifier", "regression"] = "classifier"
    model: ModelConfig = ModelConfig(source="lab:digits")
    parameters: ParametersConfig = ParametersConfig(kind="full")
    request: ItemRequestConfig = ItemRequestConfig()
    evaluate: ItemEvaluateConfig = ItemEvaluateConfig()


class AuditRequestConfig(Section):
    """Which concepts are said to be gone, and which are said to have stayed."""

    concepts: tuple[str, ...] = ()
    """``NAME`` or ``NAME | SYNONYM``."""
    retain: tuple[str, ...] = ()
    """Concepts that should have stayed; the published score is taken for them as well."""
    force: bool = False
    """Go on although original and unlearned model have the same weights."""


class AuditEvaluateConfig(Section):
    """With what the models are measured; `model` is the original."""

    suite: Literal["concealment", "concealment-published"] = "concealment"
    images: Annotated[int, Field(ge=2)] = 64
    """Images of each concept under each attack, one a seed."""
    pool: Annotated[int, Field(ge=2)] = 128
    """Images of each model that completions are held against."""
    steps: Annotated[int, Field(ge=1)] = 20
    guidance: Annotated[float, Field(ge=0)] = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 64
    backbone: str | None = None
    """Folder or hub id of an image model for the two-class classifier; a small network from scratch if none."""
    judge: str | None = None
    """Folder of an image classifier that says what images show; the lab has its own."""
    clip: str | None = None
    """CLIP model that says so where no classifier is at hand."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """*gone* asks that no attack can bring the concept back more often than from the oracle by this much."""


class AuditConfig(RunConfig):
    """An audit of an unlearned text-to-image pipeline, beside the original it was made from."""

    task: Literal["audit"] = "audit"
    domain: Literal["diffusion"] = "diffusion"
    unlearned: str = ""
    """Pipeline folder, hub id, patch, or the folder of a run."""
    oracle: Literal["auto", "never"] | str = "auto"
    """``auto`` retrains the lab without the concepts; a path or hub id names a pipeline; ``never`` leaves it out."""
    controls: str | None = None
    """Folder that keeps what was found on original and oracle, for further audits of the same pair; none by default."""
    request: AuditRequestConfig = AuditRequestConfig()
    evaluate: AuditEvaluateConfig = AuditEvaluateConfig()
    attacks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Attacks by name, each with the fields that are not its defaults."""


RUNS: dict[str, type[RunConfig]] = {
    "lm": FactConfig,
    "diffusion": ConceptConfig,
    "classifier": ItemConfig,
    "regression": ItemConfig,
    "audit": AuditConfig,
}
"""Kinds of run: by domain, and ``audit``."""
