"""Which weights are trained: a LoRA beside frozen weights, or the weights themselves."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genunlearn.config import ParametersConfig
from genunlearn.config.sections import LAYERS
from genunlearn.contracts import Domain
from genunlearn.domains.files import check_files, read_json, read_shapes
from genunlearn.domains.pretrained import ADAPTER_CONFIG, places_of, read_adapter
from genunlearn.domains.sharding import shape_of
from genunlearn.domains.sources import ADAPTER_WEIGHTS
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.records import hash_files, honour_umask, write_json

PATCH_NOTE = "genunlearn.json"
ALL = "all-linear"


@dataclass(frozen=True)
class Patch:
    """What a patch says of itself.

    Attributes:
        base: The model that it names as its base; None where it names none.
        is_verified: Whether its files are those that its own note was written for. A patch from elsewhere has no note.
    """

    base: str | None
    is_verified: bool


def check(domain: Domain, config: ParametersConfig) -> str | tuple[str, ...]:
    """What `config.target_modules` stands for in a model, which stays as it is.

    Returns:
        Names of parameters (``kind = full``), names or a pattern of layers (``lora``), or ``all-linear``.

    Raises:
        MismatchError: It names a layer that is not there, or selects none; or the weights are spread over devices.
    """
    if len(places := places_of(domain.network)) > 1:
        raise MismatchError(
            f"model.device_map has spread the weights over {', '.join(map(str, places))}, for evaluation alone: "
            "to train a model that no GPU holds, start several processes (configs/accelerate)"
        )
    targets, is_full = config.target_modules, config.kind == "full"
    if isinstance(targets, str):
        own = domain.parameter_names if is_full else domain.layer_names
        if (names := own("full" if targets == ALL else targets)) is not None and not (is_full and targets == ALL):
            return names
    if targets == ALL:
        return targets
    is_meant = _matcher(domain.network, targets)
    layers = [name for name, _ in domain.network.named_modules() if is_meant(name)]
    if not layers:
        raise MismatchError(f"parameters.target_modules = {targets!r} matches no layer of the model: {LAYERS}")
    if not is_full:
        return targets
    return tuple(n for n, _ in domain.module.named_parameters() if any(n.startswith(f"{layer}.") for layer in layers))


def attach(domain: Domain, config: ParametersConfig, seed: int) -> None:
    """Make the chosen weights of ``domain.module`` trainable and freeze all others, in place.

    Raises:
        MismatchError: `config.target_modules` names a layer that is not there or selects none, all that it selects is
            frozen for good, or the model cannot carry a LoRA there.
    """
    targets = check(domain, config)
    if config.kind == "full":
        for name, parameter in domain.module.named_parameters():
            parameter.requires_grad_((targets == ALL or name in targets) and name not in domain.frozen)
        if domain.frozen and not trainable(domain.module):
            raise MismatchError("every weight is frozen: set requires_grad_(True) on those that may change")
        return
    from peft import LoraConfig, get_peft_model
    from peft.utils.error import NoMatchingPeftModuleError

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(targets) if isinstance(targets, tuple) else targets,
        task_type=domain.lora_task,
        revision=domain.origin.get("commit"),
    )
    domain.module.requires_grad_(False)
    with torch.random.fork_rng(), _without_remarks():
        torch.manual_seed(seed)
        try:
            domain.module = get_peft_model(domain.module, lora)
        except NoMatchingPeftModuleError as error:
            hint = "set parameters.kind = 'full'" if targets == ALL else LAYERS
            raise MismatchError(
                f"parameters.target_modules = {targets!r} matches no layer of the model: {hint}"
            ) from error
        except ValueError as error:
            reason = str(error).splitlines()[0].removeprefix("[PEFT:PeftType.LORA] ")
            raise MismatchError(
                f"parameters.target_modules = {targets!r}: this model cannot carry a LoRA there ({reason}): choose "
                "other layers, or parameters.kind = 'full'"
            ) from error


def _matcher(network: nn.Module, targets: str | tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a layer is meant, by its name; refuses what peft would accept in part, or fail on."""
    if isinstance(targets, str):
        pattern = re.compile(targets)
        return lambda layer: pattern.fullmatch(layer) is not None

    def is_named(layer: str, name: str) -> bool:
        return layer == name or layer.endswith(f".{name}")

    layers = [name for name, _ in network.named_modules()]
    dead = [name for name in targets if not any(is_named(layer, name) for layer in layers)]
    if dead and len(dead) < len(targets):
        raise MismatchError(f"parameters.target_modules: {dead[0]!r} matches no layer of the model: {LAYERS}")
    return lambda layer: any(is_named(layer, name) for name in targets)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Silent about a remark between peft and transformers, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def count(module: nn.Module) -> dict[str, int]:
    """Number of trainable and of all parameters (a packed 4-bit weight counts its stored elements)."""
    sizes = [(shape_of(p).numel(), p.requires_grad) for p in module.parameters()]
    return {"trainable": sum(n for n, grad in sizes if grad), "total": sum(n for n, _ in sizes)}


def fuse(domain: Domain, config: ParametersConfig, seed: int) -> None:
    """Fold a LoRA into the weights and begin a new one; full weights need nothing."""
    if config.kind == "lora":
        domain.module = domain.network.merge_and_unload()
        attach(domain, config, seed)


def save_patch(domain: Domain, folder: Path, **remarks: Any) -> str:
    """Write the LoRA as a PEFT adapter that says which base it was made for, and how; returns its hash.

    Args:
        domain: The model that carries it.
        folder: Where it goes.
        remarks: What its note says besides.
    """
    domain.network.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    _sort_targets(folder / ADAPTER_CONFIG)
    honour_umask(folder)
    return write_note(folder, {"base_sha256": domain.base_sha256, "base": dict(domain.origin), **remarks})


def write_note(folder: Path, note: Mapping[str, Any]) -> str:
    """Write beside a PEFT adapter what it was made for, and the hash of its files, which is returned."""
    sha256 = _hash(folder)
    write_json(folder / PATCH_NOTE, {**note, "patch_sha256": sha256})
    return sha256


def _hash(folder: Path) -> str:
    return hash_files([folder / ADAPTER_WEIGHTS, folder / ADAPTER_CONFIG])


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


def load_patch(domain: Domain, folder: Path, *, force: bool = False, name: str = "default") -> Patch:
    """Put a patch on the model in place, for inference, beside those that it carries already.

    Args:
        domain: The model.
        folder: A PEFT adapter.
        name: Name of the adapter on the model.
        force: Load a patch that has been changed since it was written, that was made for other base weights, or that
            seems to do nothing.

    Returns:
        What the patch says of itself.

    Raises:
        SourceNotFound: `folder` holds no PEFT adapter, or a damaged one.
        MismatchError: The patch was made for other base weights, is not as it was written, or does not fit.
    """
    patch = read_patch(folder, force=force)
    if not force:
        _check_base(domain, folder, patch)
    try:
        with _without_remarks():
            loaded = read_adapter(domain.module, folder, name)
    except MismatchError as error:
        raise MismatchError(f"{error}{_named(patch)}") from error
    if not (patch.is_verified or force) and (reason := _fault(loaded, folder, name)):
        if len(loaded.peft_config) > 1:
            loaded.delete_adapter(name)
        else:
            loaded.unload()
        raise MismatchError(f"{folder}: {reason}: fetch the patch again, or load it by force{_named(patch)}")
    domain.module = loaded.eval()
    return patch


def read_patch(folder: Path, *, force: bool = False) -> Patch:
    """What a patch says of itself, once its files are found to be those that it was written with.

    Args:
        folder: A PEFT adapter.
        force: Take one that has been changed since.

    Raises:
        SourceNotFound: `folder` holds no PEFT adapter, or a damaged one.
        MismatchError: It is no plain LoRA, or its bytes no longer match its own hash.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise SourceNotFound(f"no patch at {folder}: a patch folder holds {ADAPTER_CONFIG} (a run's OUT/patch)")
    check_files(folder)
    patch, stated = _describe(folder), read_note(folder).get("patch_sha256")
    if stated and not (patch.is_verified or force):
        raise MismatchError(
            f"{folder}: not as it was written: its hash is {_hash(folder)[:12]}, {PATCH_NOTE} says "
            f"{str(stated)[:12]}; fetch the patch again, or load it by force"
        )
    return patch


def _describe(folder: Path) -> Patch:
    """What a patch says of itself.

    Raises:
        MismatchError: It is no plain LoRA, or its ranks are not those of its weights.
    """
    config, shapes = read_json(folder / ADAPTER_CONFIG), read_shapes(folder / ADAPTER_WEIGHTS)
    kind = config.get("peft_type")
    # Other kinds name tokenizers, caches and modules of their own, which peft would open.
    if kind != "LORA" or config.get("megatron_config") or config.get("arrow_config"):
        raise MismatchError(f"{folder}: peft_type = {kind!r}: a patch is a plain LoRA")
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    longest = max((side for shape in shapes.values() for side in shape), default=0)
    if not all(isinstance(rank, int) and 0 < rank <= longest for rank in ranks):
        raise MismatchError(f"{folder}: r = {config.get('r')!r} in {ADAPTER_CONFIG} is not the rank of its weights")
    base, stated = config.get("base_model_name_or_path"), read_note(folder).get("patch_sha256")
    return Patch(str(base) if base else None, is_verified=stated is not None and stated == _hash(folder))


def read_note(folder: Path) -> dict[str, Any]:
    """The note of a patch of this package; empty for one from elsewhere."""
    return read_json(folder / PATCH_NOTE) if (folder / PATCH_NOTE).is_file() else {}


def _check_base(domain: Domain, folder: Path, patch: Patch) -> None:
    made_for = str(read_note(folder).get("base_sha256") or "")
    if made_for and domain.base_sha256 and made_for != domain.base_sha256:
        raise MismatchError(
            f"{folder}: made for base {made_for[:12]}, but this model is {domain.base_sha256[:12]}; "
            f"load the model that the patch's record names{_named(patch)}"
        )


def _named(patch: Patch) -> str:
    return f" (it names {patch.base})" if patch.base else ""


def _fault(loaded: Any, folder: Path, name: str) -> str:
    """What is wrong with the tensors of a patch whose files carry no hash; empty where nothing is."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(folder / ADAPTER_WEIGHTS)
    wanted = set(get_peft_model_state_dict(loaded, adapter_name=name, save_embedding_layers=False))
    if missing := sorted(wanted - stored.keys()):
        return f"it lacks {len(missing)} of {len(wanted)} tensors, such as {missing[0]}"
    if foreign := sorted(name for name in stored.keys() - wanted if ".lora_" in name):
        return f"{len(foreign)} of its tensors belong to no layer of this model, such as {foreign[0]}"
    if broken := sorted(name for name, tensor in stored.items() if not tensor.isfinite().all()):
        return f"{broken[0]} holds values that are not finite"
    if not any(tensor.any() for name, tensor in stored.items() if ".lora_A" not in name):
        return "all its lora_B are zero, so that it changes nothing"
    return ""
