"""Opening the pipelines that a run names: the lab's, a folder, one of the hub."""

from __future__ import annotations

from genunlearn.config import RunConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.pipelines import check, find
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


def open_pipeline(config: RunConfig, source: str | None = None) -> Diffusion:
    """Load the pipeline of a configuration, or another one in the same manner."""
    settings, source = config.model, source or config.model.source
    folder = str(LABS.get(source.removeprefix(LAB), "diffusion")()) if source.startswith(LAB) else source
    revision = settings.revision if source == settings.source else None
    return Diffusion.load(folder, revision=revision, dtype=settings.dtype, device=settings.device)
