"""Which weights are trained: a LoRA beside frozen weights, or the weights themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from genunlearn.config import ParametersConfig
from genunlearn.contracts import Domain
from genunlearn.domains.sources import check_weights, read_json
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.records import hash_files, write_json

PATCH_NOTE = "genunlearn.json"


def attach(domain: Domain, config: ParametersConfig, seed: int) -> None:
    """Make the chosen weights of ``domain.module`` trainable and freeze all others, in place.

    Raises:
        MismatchError: `config.target_modules` selects no layer.
    """
    if config.kind == "full":
        everything = config.target_modules == "all-linear"
        chosen = None if everything else _chosen(domain.parameter_names, config.target_modules)
        for name, parameter in domain.module.named_parameters():
            parameter.requires_grad_(chosen is None or name in chosen)
        return
    from peft import LoraConfig, get_peft_model

    targets = _chosen(domain.layer_names, config.target_modules) or config.target_modules
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(targets) if isinstance(targets, tuple) else targets,
        task_type=domain.lora_task,
    )
    domain.module.requires_grad_(False)
    with torch.random.fork_rng(), _without_remarks():
        torch.manual_seed(seed)
        try:
            domain.module = get_peft_model(domain.module, lora)
        except ValueError as error:
            hint = "a list of names such as [q_proj, v_proj], or a regular expression over whole names"
            hint = "set parameters.kind = 'full'" if targets == "all-linear" else f"use all-linear, {hint}"
            raise MismatchError(
                f"parameters.target_modules = {targets!r} matches no layer of the model: {hint}"
            ) from error


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Silent about a remark between peft and transformers, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def _chosen(names: Callable[[str], tuple[str, ...] | None], pattern: str | tuple[str, ...]) -> tuple[str, ...] | None:
    """What `pattern` stands for in a domain that has words of its own for its weights; None in any other."""
    return names("full" if pattern == "all-linear" else pattern) if isinstance(pattern, str) else None


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def count(module: nn.Module) -> dict[str, int]:
    """Number of trainable and of all parameters (a packed 4-bit weight counts its stored elements)."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return {"trainable": sum(n for n, grad in sizes if grad), "total": sum(n for n, _ in sizes)}


def fuse(domain: Domain, config: ParametersConfig, seed: int) -> None:
    """Fold a LoRA into the weights and begin a new one; full weights need nothing."""
    if config.kind == "lora":
        domain.module = domain.network.merge_and_unload()
        attach(domain, config, seed)


def save_patch(domain: Domain, folder: Path) -> str:
    """Write the LoRA as a PEFT adapter that says which base it was made for; returns its hash."""
    domain.network.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    _sort_targets(folder / "adapter_config.json")
    sha256 = hash_files([folder / "adapter_model.safetensors", folder / "adapter_config.json"])
    write_json(folder / PATCH_NOTE, {"base_sha256": domain.base_sha256, "patch_sha256": sha256})
    return sha256


def _sort_targets(path: Path) -> None:
    """Give the names of the layers an order: peft writes a set, whose order differs from process to process."""
    config = read_json(path)
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    write_json(path, config)


def save_whole(domain: Domain, folder: Path) -> None:
    """Write the whole model with what has been trained folded in, as a folder in the hub's format."""
    from peft import PeftModel

    if isinstance(domain.network, PeftModel):
        domain.module = domain.network.merge_and_unload()
    domain.save(folder)


def load_patch(domain: Domain, folder: Path) -> None:
    """Put a patch on the model in place, for inference.

    Raises:
        SourceNotFound: `folder` holds no PEFT adapter, or a damaged one.
        MismatchError: The patch was made for other base weights.
    """
    if not (folder / "adapter_config.json").is_file():
        raise SourceNotFound(f"no patch at {folder}: a patch folder holds adapter_config.json (a run's OUT/patch)")
    check_weights(folder)
    read_json(folder / "adapter_config.json")
    made_for = read_json(folder / PATCH_NOTE).get("base_sha256") if (folder / PATCH_NOTE).is_file() else None
    if made_for and domain.base_sha256 and made_for != domain.base_sha256:
        raise MismatchError(
            f"{folder}: made for base {made_for[:12]}, but this model is {domain.base_sha256[:12]}; "
            "load the model that the patch's record names"
        )
    from peft import PeftModel

    try:
        with _without_remarks():
            domain.module = PeftModel.from_pretrained(domain.module, folder).eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MismatchError(f"{folder}: does not fit this model ({reason}): load the model it was made for") from error
