"""Patches on the models that a user names: applied to a folder and detached from it, merged, stacked, compared."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.config.diffusion import DiffusionConfig, DiffusionModelConfig
from genunlearn.config.lm import LMConfig, LMModelConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.files import read_json
from genunlearn.domains.pretrained import ADAPTER_CONFIG
from genunlearn.domains.sources import ADAPTER_WEIGHTS, find_place, hash_weights, resolve_folder
from genunlearn.engine.parameters import PATCH_NOTE, read_note, read_patch, save_whole, write_note
from genunlearn.engine.patches import put_on, stack, take_off
from genunlearn.errors import InputError, MismatchError, SourceNotFound
from genunlearn.records import making, write_json
from genunlearn.registry import LAB, LABS, require
from genunlearn.runs.diffusion.audit_models import unlearned_place as pipeline_patch
from genunlearn.runs.diffusion.pipelines import check_source, open_pipeline
from genunlearn.runs.lm.audit_models import is_patch, unlearned_place
from genunlearn.runs.lm.request import check_names, check_sources, open_model

MODEL_INDEX = "model_index.json"


def apply(patch: Path, model: str, out: Path, *, force: bool = False) -> Path:
    """Write a folder with a language model and the patch beside its weights, which transformers opens patched.

    The weights are those of the model, byte for byte, so that `detach` gives the model back.

    Raises:
        InputError: The patch or the model cannot be used, or they do not belong together.
    """
    _refuse_pipeline(model, "apply")
    place, loaded = language_patch(patch), _open(model)
    put_on(loaded, [place], force=force)  # refuses what does not fit
    base = Path(LABS.get(model.removeprefix(LAB), "lm")()) if model.startswith(LAB) else resolve_folder(model)
    with making(out) as folder:
        for file in base.iterdir():
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
        for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
            shutil.copyfile(place / name, folder / name)
        config = read_json(folder / ADAPTER_CONFIG)
        write_json(folder / ADAPTER_CONFIG, {**config, "base_model_name_or_path": str(out.resolve())})
        write_note(folder, {**read_note(place), "base_sha256": loaded.base_sha256})
    return out


def detach(folder: Path, *, force: bool = False) -> str | None:
    """Take the patch off a folder that `apply` has written; returns the hash of the weights that stay.

    Raises:
        InputError: There is no patch, it was changed, or the weights are no longer those that it was put on.
    """
    if not (folder / "config.json").is_file():
        raise SourceNotFound(f"{folder}: no model with a patch; give a folder that genunlearn patch apply has written")
    read_patch(folder, force=force)
    stated, found = read_note(folder).get("base_sha256"), hash_weights(folder)
    if stated != found and not force:
        raise MismatchError(
            f"{folder}: its weights are {found[:12]}, the patch was put on {str(stated)[:12]}; fetch the model again, "
            "or take the patch off by force"
        )
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, PATCH_NOTE):
        (folder / name).unlink(missing_ok=True)
    return found


def merge(patches: Sequence[Path], model: str, out: Path, *, force: bool = False) -> Path:
    """Write the whole model with patches folded into its weights, in the order given.

    Raises:
        InputError: A patch or the model cannot be used, or they do not belong together.
    """
    if _is_pipeline(model):
        require("diffusers", f"--model {model}")
        check_source(model)
        places = [_pipeline_patch(patch) for patch in patches]
        pipeline = open_pipeline(DiffusionConfig(model=DiffusionModelConfig(source=model)))
        for place in places:
            pipeline.load_patch(place, force=force)
        with making(out) as folder:
            pipeline.save(folder)
        return out
    places = [language_patch(patch) for patch in patches]
    loaded = _open(model)
    put_on(loaded, places, force=force)
    with making(out) as folder:
        save_whole(loaded, folder)
    return out


def stack_patches(patches: Sequence[Path], model: str, out: Path, *, force: bool = False) -> str:
    """Write one patch that does what several do, in the order given; returns its hash.

    Raises:
        InputError: A patch or the model cannot be used, or they do not belong together.
    """
    _refuse_pipeline(model, "stack")
    if len(patches) < 2:
        raise InputError("one patch given: name at least two to stack")
    places = [language_patch(patch) for patch in patches]
    loaded = _open(model)
    with making(out) as folder:
        sha256 = stack(loaded, places, folder, force=force)
    take_off(loaded)
    return sha256


# ---- parts --------------------------------------------------------------------------------------------------------


def _open(model: str) -> Any:
    config = LMConfig(model=LMModelConfig(source=model))
    check_names(config)
    check_sources(config)
    return open_model(config)


def _is_pipeline(model: str) -> bool:
    if model.startswith(LAB):
        return model.removeprefix(LAB) in LABS.names(Diffusion.name)
    place = find_place(model)
    return place is not None and (place / MODEL_INDEX).is_file()


def _refuse_pipeline(model: str, command: str) -> None:
    if _is_pipeline(model):
        raise InputError(f"--model {model}: patch {command} is for language models; patch merge takes pipelines too")


def language_patch(source: Path) -> Path:
    """Where a patch of a language model lies; a run's folder stands for the one that it has left.

    Raises:
        SourceNotFound: There is none.
    """
    place = unlearned_place(str(source))
    if isinstance(place, str) or not is_patch(place):
        raise SourceNotFound(f"no patch at {source}: give a run's folder, or its patch (OUT/patch)")
    return place


def _pipeline_patch(source: Path) -> Path:
    place = pipeline_patch(str(source))
    if isinstance(place, str) or (place / MODEL_INDEX).is_file():
        raise SourceNotFound(f"no patch at {source}: give a run's folder, or its patch (OUT/patch)")
    return place
