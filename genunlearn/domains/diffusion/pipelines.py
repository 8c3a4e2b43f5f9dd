"""Pipelines on disk and in memory: found, checked, read, and parts that leave memory and come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from genunlearn.domains.files import check_files, read_json, read_shapes
from genunlearn.domains.pretrained import download_pipeline, read_model, read_pipeline, read_single_file
from genunlearn.domains.sources import check_weights, fetch, find_place, weight_files
from genunlearn.errors import DataError, SourceNotFound

INDEX = "model_index.json"
NOT_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that making images from text does not need; a whole exported pipeline gets them from its source."""
HALF = ".fp16."
"""What marks weight files in half precision, which may lie beside others or alone."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
AGAIN = "fetch or save the pipeline again"
WEIGHTLESS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "Extractor")


def find(source: str, revision: str | None = None) -> Path:
    """Where a pipeline lies, complete: a folder, a single-file checkpoint, or the snapshot of a hub id.

    Raises:
        SourceNotFound: No such pipeline, or one with a missing or damaged part.
        DataError: A checkpoint that is a pickle.
    """
    if (place := find_place(source)) is None:
        place = fetch("pipeline", source, lambda: download_pipeline(source, revision))
    check(place)
    return place


def check(place: Path) -> None:
    """Refuse what is not a complete pipeline.

    Raises:
        SourceNotFound: There is no index, or a part that it lists is missing or damaged.
        DataError: It is a pickle.
    """
    if place.is_file():
        refuse_pickle(place)
        config = single_file_config(place)
        for name in parts_of(config):
            if (config / name).is_dir():
                check_files(config / name)
        return
    if not (place / INDEX).is_file():
        raise SourceNotFound(f"{place}: no {INDEX}; this is not a pipeline folder in the hub's format")
    for name, kind in parts_of(place).items():
        if name in NOT_LOADED:
            continue
        if not (place / name).is_dir():
            raise SourceNotFound(f"{place}: part {name!r} ({kind}) is missing; {AGAIN}")
        check_files(place / name)
        if not kind.endswith(WEIGHTLESS):
            check_weights(place / name)


def refuse_pickle(path: Path) -> None:
    """Refuse a file that could run code.

    Raises:
        DataError: It is a pickle by its name.
    """
    if path.suffix.lower() in PICKLES:
        raise DataError(
            f'{path}: pickles can run code and are not read; convert it where you trust it: python -c "import torch, '
            f"safetensors.torch as s; d = torch.load('{path.name}', weights_only=True); d = d.get('state_dict', d); "
            f"s.save_file({{k: v.contiguous() for k, v in d.items()}}, '{path.stem}.safetensors')\""
        )


def single_file_config(path: Path) -> Path:
    """The folder whose configurations belong to a single-file checkpoint: its own, or one from the hub's cache.

    Raises:
        SourceNotFound: There is none on this machine, or the file is damaged.
    """
    from diffusers.loaders.single_file_utils import DIFFUSERS_DEFAULT_PIPELINE_PATHS, infer_diffusers_model_type
    from huggingface_hub import try_to_load_from_cache

    if (path.parent / INDEX).is_file():
        return path.parent
    try:
        empty = {name: torch.empty(shape, device="meta") for name, shape in read_shapes(path).items()}
        kind = infer_diffusers_model_type(empty)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceNotFound(f"{path}: not a safetensors checkpoint of a pipeline, or a damaged one") from error
    repository = DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    found = try_to_load_from_cache(repository, INDEX)
    if not isinstance(found, str):
        raise SourceNotFound(
            f"{path}: a checkpoint has no configuration; put it into the folder of a pipeline of its kind (such as "
            f"{repository}, with {INDEX}), or give that pipeline as the original and the file as the patch"
        )
    return Path(found).parent


def loaded_files(part: Path) -> list[Path]:
    """The weight files of a part that are read: of a folder with two precisions, the full one."""
    files = weight_files(part) if any(part.glob("*.safetensors")) else []
    return [file for file in files if HALF not in file.name] or files


def parts_of(folder: Path) -> dict[str, str]:
    """Class of each part that the index of a pipeline folder lists, by name.

    Raises:
        SourceNotFound: The index is damaged.
    """
    listed = {name: entry for name, entry in read_json(folder / INDEX).items() if isinstance(entry, list)}
    parts = {name: entry for name, entry in listed.items() if not name.startswith("_") and entry[:1] != [None]}
    for name, entry in parts.items():
        if len(entry) != 2 or not all(isinstance(word, str) for word in entry) or Path(name).name != name:
            raise SourceNotFound(f"{folder / INDEX}: {name} = {entry!r}: a part is [library, class]; fetch it again")
    return {name: entry[1] for name, entry in parts.items()}


def read(place: Path, dtype: str, device: str) -> Any:
    """Read a checked pipeline; a safety checker stays where it is, since it would falsify what is measured.

    Raises:
        SourceNotFound: Diffusers cannot read a part.
    """
    from accelerate import PartialState
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    for library in (logging, transformers_logging):  # reading a folder is quick, and has no use for their bars
        library.disable_progress_bar()
    pipeline = _open(place, getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    where = PartialState().device if device == "auto" else torch.device(device)
    pipeline.to(where)
    if where.type == "cuda":
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                channels_last(part)
    return pipeline


def channels_last(part: Any) -> Any:
    """A part whose convolutions keep the channels of a pixel side by side, as a GPU's tensor cores want them."""
    is_convolution = any(isinstance(layer, torch.nn.Conv2d) for layer in part.modules())
    return part.to(memory_format=torch.channels_last) if is_convolution else part


def _open(place: Path, dtype: torch.dtype) -> Any:
    """The whole of a folder or of a single file, but for what is not loaded."""
    import diffusers

    config = single_file_config(place) if place.is_file() else place
    options: dict[str, Any] = {"dtype": dtype, **{name: None for name in NOT_LOADED if name in parts_of(config)}}
    if "safety_checker" in options:
        options["requires_safety_checker"] = False
    if place.is_dir():
        pipeline = read_pipeline(diffusers.DiffusionPipeline, place, variant=_variant(place), **options)
        _check_whole(pipeline.components, place, AGAIN)
        return pipeline
    name = read_json(config / INDEX).get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type):
        raise SourceNotFound(f"{config / INDEX}: _class_name = {name!r} is no pipeline of diffusers; fetch it again")
    pipeline = read_single_file(kind, place, config, **options)
    _check_whole(pipeline.components, place, "give it as a patch of a whole pipeline")
    return pipeline


def _check_whole(parts: Mapping[str, Any], place: Path, remedy: str) -> None:
    """Refuse parts that lack weights, or whose configuration asks for more: diffusers leaves them without values."""
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module) and any(weight.is_meta for weight in part.parameters()):
            raise SourceNotFound(f"{place}: lacks weights of {name!r}; {remedy}")


def _read_part(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """One part of a pipeline, read again."""
    is_half = all(HALF in file.name for file in loaded_files(folder))
    part = read_model(kind, folder, f"a {kind.__name__}", dtype=dtype, variant="fp16" if is_half else None)
    _check_whole({folder.name: part}, folder.parent, AGAIN)
    return part


def _variant(folder: Path) -> str | None:
    """``fp16`` for a pipeline some part of which is there in half precision alone."""
    for name, kind in parts_of(folder).items():
        files = loaded_files(folder / name) if name not in NOT_LOADED and not kind.endswith(WEIGHTLESS) else []
        if any(HALF in file.name for file in files):
            return "fp16"
    return None


class Parts:
    """The parts of a pipeline that may leave memory while they are not needed.

    Where the pipeline has a folder they are dropped and read again; without one they wait on the CPU.
    """

    def __init__(self, pipeline: Any, source: str) -> None:
        """`source`: the pipeline's folder, or an empty string."""
        self._pipeline = pipeline
        self._folder = Path(source) if source else None
        self._classes: dict[str, Any] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._kept: set[str] = set()

    def spare(self) -> tuple[str, ...]:
        """Text encoders and VAE: what training on known prompts and latents can do without."""
        return (*self.text_encoders(), "vae")

    def text_encoders(self) -> tuple[str, ...]:
        """Names of the text encoders that the pipeline has, released ones included."""
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        return tuple(n for n in names if n in self._classes or getattr(self._pipeline, n, None) is not None)

    def release(self, names: Sequence[str]) -> None:
        """Let parts leave memory, on an accelerator or, where they can be read again, altogether."""
        for name in names:
            if (part := getattr(self._pipeline, name, None)) is None:
                continue
            if self._folder is None or name in self._kept:
                part.to("cpu")
                continue
            self._classes[name], self._dtypes[name] = type(part), part.dtype
            setattr(self._pipeline, name, None)

    def get(self, name: str, device: torch.device) -> Any:
        """A part, on `device`, read again if it had been dropped."""
        if name in self._classes and self._folder is not None:
            kind = self._classes.pop(name)
            part = _read_part(kind, self._folder / name, self._dtypes.pop(name))
            self._pipeline.register_modules(**{name: part.eval().requires_grad_(False)})
        part = getattr(self._pipeline, name).to(device)
        return channels_last(part) if device.type == "cuda" else part

    def keep(self, names: Iterable[str]) -> None:
        """Never drop those parts: their weights are no longer those of the folder."""
        self._kept |= set(names)

    def present(self) -> dict[str, Any]:
        """Text encoders and VAE that are in memory."""
        found = {name: getattr(self._pipeline, name, None) for name in self.spare()}
        return {name: part for name, part in found.items() if part is not None}

    def restore(self, device: torch.device) -> None:
        """Bring every part back."""
        for name in tuple(self._classes):
            self.get(name, device)
