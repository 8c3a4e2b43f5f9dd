"""Opening the pipelines that a run names: the lab's, a folder, one of the hub."""

from __future__ import annotations

from genunlearn.config.diffusion import DiffusionAuditConfig, DiffusionConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.pipelines import check, find
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import SourceNotFound
from genunlearn.registry import LAB, LABS

PATCH, MODEL = "patch", "model"
"""Where a run leaves a patch, or a whole pipeline."""


def check_source(source: str, revision: str | None = None) -> None:
    """Refuse a pipeline that is not there or not complete, before anything is written.

    Raises:
        SourceNotFound: It cannot be used.
        NameNotFound: The lab has none of this name.
    """
    if source in ("auto", "never"):
        return
    if source.startswith(LAB):
        LABS.line(source.removeprefix(LAB), "diffusion")
    else:
        check(find(source, revision))


def check_parts(**sources: str | None) -> None:
    """Refuse a judge or another model of `evaluate` that is not there; one that is not given is None.

    Raises:
        SourceNotFound: It is neither a folder nor to be had from the hub.
    """
    for name, source in sources.items():
        if source is not None:
            try:
                resolve_folder(source)
            except SourceNotFound as error:
                raise SourceNotFound(f"evaluate.{name} = {source!r}: {error}") from error


def open_pipeline(config: DiffusionConfig | DiffusionAuditConfig, source: str | None = None) -> Diffusion:
    """Load the pipeline of a configuration, or another one in the same manner."""
    settings, source = config.model, source or config.model.source
    folder = str(LABS.get(source.removeprefix(LAB), "diffusion")()) if source.startswith(LAB) else source
    revision = revision_of(config, source)
    model = Diffusion.load(folder, revision=revision, dtype=settings.dtype, device=settings.device)
    if settings.checkpoint_activations:
        model.network.enable_gradient_checkpointing()
    if settings.compile:
        model.network.compile()  # in place: names of weights, wrappers and exports are those of before
    return model


def revision_of(config: DiffusionConfig | DiffusionAuditConfig, source: str) -> str | None:
    """The revision that a configuration names belongs to its model, and to no other pipeline."""
    return config.model.revision if source == config.model.source else None
