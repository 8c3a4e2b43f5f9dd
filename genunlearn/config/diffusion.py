"""Runs on text-to-image pipelines: erasure, and the audit of one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import (
    AuditConfig,
    AuditEvaluateConfig,
    EvaluateConfig,
    ModelConfig,
    OracleName,
    RequestConfig,
    UnlearnConfig,
)


class DiffusionModelConfig(ModelConfig):
    """Which pipeline, and how it is loaded and run."""

    compile: bool = False
    """Compile the denoiser (torch.compile): a minute or so at its first use, which many images or steps make up for.
    Numbers differ in their last bits from those of the uncompiled one."""
    checkpoint_activations: bool = False
    """Keep only what enters a layer, and compute the layer again in the backward pass: less memory, a third more time.
    """


class DiffusionRequestConfig(RequestConfig):
    """What a text-to-image model is to forget, and what it must go on drawing."""

    concepts: tuple[str, ...] = ()
    """``NAME``, ``NAME / SYNONYM`` or ``NAME -> ANCHOR``; the anchor is what is drawn instead."""
    preserve: tuple[str, ...] = ()
    """Concepts that must stay, in the same form, and on which methods may train; in the lab ``auto`` names all others
    of the concepts' kind."""
    templates: tuple[str, ...] = ()
    """Prompts with ``{}`` for the concept, by default ``a photo of {}`` and the like; the lab has its own."""


class DiffusionEvaluateConfig(EvaluateConfig):
    """What is measured on a text-to-image model, before and after."""

    suite: str = "images"
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
    oracle: OracleName = "never"
    """``auto`` retrains the lab without the concepts; a path or hub id names a pipeline; ``never`` leaves it out."""


class DiffusionConfig(UnlearnConfig):
    """A run on a text-to-image pipeline."""

    domain: Literal["diffusion"] = "diffusion"
    model: DiffusionModelConfig = DiffusionModelConfig()
    request: DiffusionRequestConfig = DiffusionRequestConfig()
    evaluate: DiffusionEvaluateConfig = DiffusionEvaluateConfig()
    export: Literal["auto", "lora", "kohya", "delta", "unet", "pipeline"] = "auto"
    """What is written: a LoRA that diffusers or kohya's tools load, the changed tensors alone, the whole denoiser or
    the whole pipeline; ``auto`` is the smallest form that is exact."""


class DiffusionAuditRequestConfig(RequestConfig):
    """Which concepts are said to be gone, and which are said to have stayed."""

    concepts: tuple[str, ...] = ()
    """``NAME``, ``NAME | SYNONYM`` or ``NAME -> ANCHOR``; without an oracle, what the original draws of the anchor is a
    control."""
    retain: tuple[str, ...] = ()
    """Concepts that should have stayed: damage is judged by them, and the published score is taken of them as well."""
    templates: tuple[str, ...] = ()
    """Prompts with ``{}`` for the concept, by default ``a photo of {}`` and the like; the lab has its own."""


class DiffusionAuditEvaluateConfig(AuditEvaluateConfig):
    """With what the models are measured; `model` is the original."""

    suite: str = "concealment"
    images: Annotated[int, Field(ge=2)] = 64
    """Images of each concept under each attack at the first look, one a seed."""
    most_images: Annotated[int, Field(ge=2)] | None = None
    """Images up to which more are drawn, twice as many at each look, where fewer decide nothing; `images` if null."""
    kept_images: Annotated[int, Field(ge=10)] = 60
    """Images of what must stay, by which damage is judged."""
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
    prompts: str | None = None
    """CSV with columns ``prompt`` and ``concept``, whose rows ask for that concept in the place of the templates."""


class DiffusionAuditConfig(AuditConfig):
    """An audit of an unlearned text-to-image pipeline."""

    domain: Literal["diffusion"] = "diffusion"
    model: DiffusionModelConfig = DiffusionModelConfig()
    request: DiffusionAuditRequestConfig = DiffusionAuditRequestConfig()
    evaluate: DiffusionAuditEvaluateConfig = DiffusionAuditEvaluateConfig()
