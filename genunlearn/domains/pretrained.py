"""Networks, tokenizers and pipelines from a folder in the hub's format: the one place that calls ``from_pretrained``.

Whatever is read comes from a local folder, from safetensors (or one GGUF file) alone, and never brings code of its own:
`tests/house` fails on a ``from_pretrained`` anywhere else.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genunlearn.domains.files import check_files, read_shapes
from genunlearn.domains.sources import ADAPTER_WEIGHTS, find_folder
from genunlearn.errors import ConfigError, MismatchError, SourceNotFound
from genunlearn.processes import this_process
from genunlearn.registry import require

ADAPTER_CONFIG = "adapter_config.json"


def find_device(name: str) -> torch.device:
    """The device called `name`; ``auto`` is this process's share of what the machine has.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return this_process().device
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(f"model.device = {name!r} is not to be had here ({_first_line(error)}): use auto") from None
    if device.type == "meta":
        raise ConfigError(f"model.device = {name!r} holds no numbers: use auto")
    return device


def check_map(device_map: str | Mapping[str, str | int] | None, device: str) -> Any:
    """What `open_network` takes as its map.

    Raises:
        ConfigError: A device is named too.
    """
    if device_map is not None and device != "auto":
        raise ConfigError(f"model.device = {device!r} beside model.device_map: give one of them")
    return dict(device_map) if isinstance(device_map, Mapping) else device_map


def places_of(network: Any) -> tuple[str | int | torch.device, ...]:
    """Where the parts of a network lie that was loaded with a map of devices; empty for one without."""
    return tuple(dict.fromkeys((getattr(network, "hf_device_map", None) or {}).values()))


def input_device(network: Any) -> torch.device:
    """Where inputs of a network go: the device of its first weights that are in memory, if only for a moment."""
    if len(places := places_of(network)) < 2:
        return next(network.parameters()).device
    return torch.device(next(place for place in places if place != "disk"))


def open_network(folder: Path, *, dtype: str, quantize: str, device: torch.device, device_map: Any = None) -> nn.Module:
    """Read a causal language model.

    Args:
        folder: Where it lies.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto``.
        quantize: ``none``, or ``nf4`` for a 4-bit base.
        device: Where the weights go.
        device_map: Spreads them instead, see `genunlearn.config.lm.LMModelConfig`.

    Raises:
        SourceNotFound: Weights are missing, or the folder holds another kind of model.
        NeedNotMet: ``nf4`` without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    if quantize == "nf4":
        options |= {
            "quantization_config": _nf4(options["dtype"] if dtype != "auto" else _published_in(folder)),
            "device_map": {"": device},
        }
    if device_map is not None:
        options["device_map"] = device_map
    network = read_model(AutoModelForCausalLM, folder, "a language model", **options)
    if quantize == "nf4":
        _keep_differentiable(network)
        return network
    return network if device_map is not None else network.to(device)


def open_tokenizer(folder: Path) -> Any:
    """Read a tokenizer.

    Raises:
        SourceNotFound: transformers cannot read it.
    """
    from transformers import AutoTokenizer

    return read_part(AutoTokenizer, folder, "a language model")


def origin_of(source: str, folder: Path, *, dtype: str, quantize: str, device: torch.device) -> dict[str, Any]:
    """Where a model came from and how it was loaded, as a patch for it states it.

    Args:
        source: Folder or hub id that the caller gave.
        folder: Where it was read from; the cache of the hub names the commit.
        dtype: Precision.
        quantize: ``none`` or ``nf4``.
        device: Where the weights are.

    Returns:
        ``source`` (a hub id, or a whole path that means the same from anywhere), ``commit`` (None for a folder),
        ``dtype``, ``quantize``, ``device``.
    """
    is_given, is_cached = find_folder(source) is not None, folder.parent.name == "snapshots"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "source": str(folder.resolve()) if is_given else source,
        "commit": folder.name if is_cached else None,
        "dtype": dtype,
        "quantize": quantize,
        "device": name,
    }


def read_model(kind: Any, folder: Path, what: str, *, may_lack: tuple[str, ...] = (), **options: Any) -> Any:
    """``kind.from_pretrained(folder)`` for a class with weights: safetensors alone, complete, no foreign code.

    Args:
        kind: A model class of transformers or diffusers.
        folder: Where it lies.
        what: What messages call it, such as ``a language model``.
        may_lack: Beginnings of names of weights that are not used; they are drawn at random where they are missing.
        options: What else `kind` takes.

    Raises:
        SourceNotFound: The folder is damaged, lacks weights, holds another kind of model, or one with code of its own.
    """
    if (folder / ADAPTER_CONFIG).is_file():  # transformers would go on to the base that this file names
        raise SourceNotFound(
            f"{folder}: holds a LoRA ({ADAPTER_CONFIG}): give the model it was made for, and this as a patch"
        )
    model, found = _read(kind, folder, what, use_safetensors=True, output_loading_info=True, **options)
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(may_lack)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SourceNotFound(f"{folder}: its weight files lack {missing[0]}{more}; fetch the folder again")
    return model


def read_part(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """``kind.from_pretrained(folder)`` for a class without weights: a configuration, tokenizer, image processor.

    Raises:
        SourceNotFound: The folder is damaged, holds something else, or one with code of its own.
    """
    return _read(kind, folder, what, **options)


def read_gguf(kind: Any, file: Path, what: str, **options: Any) -> Any:
    """``kind.from_pretrained`` of a GGUF file, which holds network and tokenizer; weights are unpacked on the way.

    Raises:
        SourceNotFound: transformers cannot read it.
    """
    with redirect_stderr(StringIO()):  # the bar of the unpacking listens to no setting of transformers
        return _read(kind, file.parent, what, gguf_file=file.name, **options)


def read_pipeline(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.from_pretrained(folder)`` for a pipeline of diffusers, whose parts have been checked: safetensors alone.

    Raises:
        SourceNotFound: diffusers cannot read a part, or one comes with code of its own.
    """
    return _read(kind, folder, "a pipeline", use_safetensors=True, **options)


def read_single_file(kind: Any, file: Path, config: Path, **options: Any) -> Any:
    """``kind.from_single_file(file)`` for a pipeline of diffusers: from safetensors alone, configured by `config`.

    Args:
        kind: A pipeline class of diffusers.
        file: The checkpoint, whose name ends in ``.safetensors``.
        config: A folder in the hub's format with the configurations of the parts.
        options: What else `kind` takes.

    Raises:
        SourceNotFound: The file is damaged, or holds another kind of pipeline.
    """
    read_shapes(file)
    with _refusing(kind, file, "a pipeline"):
        return kind.from_single_file(
            str(file), config=str(config), trust_remote_code=False, local_files_only=True, **options
        )


def read_adapter(network: nn.Module, folder: Path, name: str = "default") -> Any:
    """`network` under the PEFT adapter in `folder`, beside those that it carries already.

    Args:
        network: A network, or one that carries adapters of other names.
        folder: The adapter.
        name: Name of the adapter.

    Raises:
        SourceNotFound: The folder has no safetensors weights, or damaged files.
        MismatchError: The adapter does not fit.
    """
    from peft import PeftModel

    check_files(folder)
    read_shapes(folder / ADAPTER_WEIGHTS)  # without this file peft would go on to the pickle beside it
    try:
        with no_remarks():
            if not isinstance(network, PeftModel):
                return PeftModel.from_pretrained(network, folder, adapter_name=name)
            carrier: Any = network
            carrier.load_adapter(str(folder), adapter_name=name)
            carrier.base_model.set_adapter([*carrier.peft_config])
            return carrier
    except Exception as error:
        reason = _first_line(error)
        raise MismatchError(f"{folder}: does not fit this model ({reason}): load the model it was made for") from error


def download_pipeline(source: str, revision: str | None) -> str:
    """The snapshot of a pipeline of the hub, without pickles and without code."""
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.download(source, revision=revision, use_safetensors=True, trust_remote_code=False)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars while it reads or writes a folder."""
    from transformers.utils import logging

    is_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if is_shown:
            logging.enable_progress_bar()


@contextmanager
def no_remarks() -> Iterator[None]:
    """Silent about what libraries say beside their errors: what matters of it is refused here, in one line."""
    names = ("transformers.utils.logging", "diffusers.utils.logging")
    loggings: list[Any] = [sys.modules[name] for name in names if name in sys.modules]
    levels = [logging.get_verbosity() for logging in loggings]
    for logging in loggings:
        logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logging, level in zip(loggings, levels, strict=True):
            logging.set_verbosity(level)


def _read(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """``kind.from_pretrained(folder)``; what it raises becomes one line that names the folder."""
    check_files(folder)
    with _refusing(kind, folder, what):
        return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)


@contextmanager
def _refusing(kind: Any, place: Path, what: str) -> Iterator[None]:
    """Whatever opening `place` raises becomes one line that names it.

    Code in a folder is never run. `trust_remote_code` says so for `kind` itself; for what `kind` reads in its turn
    transformers would ask on standard input, and a waiting time of zero makes it refuse instead.
    """
    from transformers import dynamic_module_utils

    waiting = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        with no_progress_bars(), no_remarks():
            yield
    # A folder of a stranger makes the libraries raise anything, a plain Exception and a panic of their Rust among it.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = f"{kind.__module__.partition('.')[0]} cannot open it as {what} ({_first_line(error)})"
        raise SourceNotFound(f"{place}: {reason}: take another {'file' if place.is_file() else 'folder'}") from error
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = waiting


def _published_in(folder: Path) -> Any:
    """The number format that a model's own configuration names."""
    from transformers import AutoConfig

    return read_part(AutoConfig, folder, "a language model").dtype or torch.bfloat16


def _nf4(compute: torch.dtype) -> Any:
    require("bitsandbytes", "model.quantize = 'nf4'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _keep_differentiable(network: nn.Module) -> None:
    """Forbid bitsandbytes to repack layers for inference on the CPU: no gradient flows through a repacked layer."""
    layer: Any
    for layer in network.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip(" .")
