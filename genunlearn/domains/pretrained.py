"""Networks and tokenizers from a folder in the hub's format, in the precision and on the device that is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genunlearn.errors import ConfigError, NeedNotMet, SourceNotFound
from genunlearn.processes import this_process


def find_device(name: str) -> torch.device:
    """The device called `name`; ``auto`` is this process's share of what the machine has.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return this_process().device
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"model.device = {name!r} is not to be had here ({_first_line(error)}): use auto") from None


def open_network(folder: Path, *, dtype: str, quantize: str, device: torch.device) -> nn.Module:
    """Read a causal language model.

    Args:
        folder: Where it lies.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto``.
        quantize: ``none``, or ``nf4`` for a 4-bit base.
        device: Where the weights go.

    Raises:
        SourceNotFound: Weights are missing, or the folder holds another kind of model.
        NeedNotMet: ``nf4`` without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype if dtype == "auto" else getattr(torch, dtype)}
    if quantize == "nf4":
        options |= {"quantization_config": _nf4(options["dtype"]), "device_map": {"": device}}
    network, found = _read(AutoModelForCausalLM, folder, use_safetensors=True, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SourceNotFound(f"{folder}: its weight files lack {missing[0]}{more}; fetch the folder again")
    if quantize == "nf4":
        _keep_differentiable(network)
        return network
    return network.to(device)


def open_tokenizer(folder: Path) -> Any:
    """Read a tokenizer.

    Raises:
        SourceNotFound: transformers cannot read it.
    """
    from transformers import AutoTokenizer

    return _read(AutoTokenizer, folder)


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


def _read(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.from_pretrained(folder)``; what it raises becomes one line that names the folder."""
    try:
        with no_progress_bars():
            return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = f"transformers cannot open it as a language model ({_first_line(error)})"
        raise SourceNotFound(f"{folder}: {reason}: take another folder") from error


def _nf4(dtype: Any) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise NeedNotMet("model.quantize = 'nf4' needs bitsandbytes: pip install 'genunlearn[quant]'")
    from transformers import BitsAndBytesConfig

    compute = torch.bfloat16 if dtype == "auto" else dtype
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _keep_differentiable(network: nn.Module) -> None:
    """Forbid bitsandbytes to repack layers for inference on the CPU: no gradient flows through a repacked layer."""
    layer: Any
    for layer in network.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip(" .")
