"""The models of an audit: the original, the one that is said to have forgotten, and an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from genunlearn.config.diffusion import DiffusionAuditConfig, DiffusionConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import RULE_FILE
from genunlearn.domains.diffusion.patches import patch_file
from genunlearn.domains.diffusion.pipelines import INDEX
from genunlearn.domains.sources import find_place
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.records import hash_files
from genunlearn.registry import LAB, LABS
from genunlearn.runs.diffusion.pipelines import MODEL, PATCH, check_source, open_pipeline

READS_PROMPTS = ("text_encoder", "text_encoder_2", "text_encoder_3")


def check_models(config: DiffusionAuditConfig) -> None:
    """Refuse models that are not there, before anything is written.

    Raises:
        SourceNotFound: One of them is neither a complete pipeline nor a patch.
    """
    check_source(config.model.source, config.model.revision)
    check_source(config.oracle)
    place = unlearned_place(config.unlearned)
    if isinstance(place, str) or (place / INDEX).is_file():
        check_source(str(place))


def unlearned_place(source: str) -> Path | str:
    """Where the model to audit lies: a pipeline's folder, a patch, or a hub id.

    A run's folder stands for the patch or the pipeline that the run has left in it.

    Raises:
        SourceNotFound: A folder that is none of these.
    """
    if (folder := find_place(source)) is None:
        return source
    for place in (folder, folder / MODEL, folder / PATCH):
        if (place / INDEX).is_file():
            return place
        try:
            patch_file(place)
        except SourceNotFound:
            continue
        return place
    raise SourceNotFound(f"{source}: neither a pipeline ({INDEX}) nor a patch, nor the folder of a run that left one")


def open_models(config: DiffusionAuditConfig, concepts: Sequence[str]) -> dict[str, Diffusion]:
    """The models by name, the original first; without ``oracle`` where there is none.

    Raises:
        MismatchError: They do not belong together, or there is nothing between them to audit.
    """
    models = {"original": open_pipeline(config, config.model.source)}
    models["unlearned"] = open_unlearned(config, config.unlearned, force=config.request.force)
    if config.oracle == "auto" and config.model.source.startswith(LAB):
        build = LABS.get(config.model.source.removeprefix(LAB), "diffusion")
        models["oracle"] = open_pipeline(config, str(build(without=list(concepts))))
    elif config.oracle not in ("auto", "never"):
        models["oracle"] = open_pipeline(config, config.oracle)
    for name in ("unlearned", "oracle"):
        if name in models:
            _check_fit(models["original"], models[name], name)
    if not config.request.force and _are_same(models["original"], models["unlearned"]):
        raise MismatchError(
            "original and unlearned model have the same weights: there is nothing to audit; request.force = true goes "
            "on all the same"
        )
    return models


def open_unlearned(config: DiffusionAuditConfig | DiffusionConfig, source: str, *, force: bool) -> Diffusion:
    """What has unlearned: a whole pipeline, or the original with a patch on it.

    Raises:
        SourceNotFound: `source` is neither.
        MismatchError: A patch of another base; `force` takes it all the same.
    """
    place = unlearned_place(source)
    if isinstance(place, str) or (place / INDEX).is_file():
        return open_pipeline(config, str(place))
    model = open_pipeline(config, config.model.source)
    model.load_patch(place, force=force)
    return model


def hash_patch(source: str) -> str | None:
    """The hash that a run's record gives to its patch; None for a whole pipeline."""
    place = unlearned_place(source)
    if isinstance(place, str) or (place / INDEX).is_file():
        return None
    return hash_files([place] if place.is_file() else sorted(place.rglob("*.safetensors")) or [place / RULE_FILE])


def _check_fit(original: Diffusion, other: Diffusion, name: str) -> None:
    """Latents are handed from one to the other: shapes and noise levels have to agree."""
    if original.latent_shape != other.latent_shape:
        raise MismatchError(
            f"original and {name} model have latents of shapes {original.latent_shape} and {other.latent_shape}: they "
            "have to be of one kind"
        )
    mine, its = (type(model.pipeline).__name__ for model in (original, other))
    if mine != its:
        raise MismatchError(f"the original is a {mine}, the {name} model a {its}: they have to be of one kind")


def _are_same(one: Diffusion, two: Diffusion) -> bool:
    """Whether denoisers and text encoders have the same weights, and images are made by the same rule."""
    if one.rule != two.rule:
        return False
    names = ("", *(name for name in READS_PROMPTS if getattr(one.pipeline, name, None) is not None))
    for name in names:
        mine, its = ((getattr(model.pipeline, name) if name else model.network).state_dict() for model in (one, two))
        if mine.keys() != its.keys() or any(not torch.equal(mine[key], its[key]) for key in mine):
            return False
    return True
