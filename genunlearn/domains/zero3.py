"""Weights cut over several processes by DeepSpeed (ZeRO-3): its engine puts a layer together while it is needed.

Outside of a forward pass such a weight is empty, so whoever reads or writes one does it by `whole`, `fill` and `part`.
DeepSpeed does the cutting, the backward pass and the step; what goes to disk is whole, and written by this package.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.processes import this_process
from genunlearn.registry import require

FILE = "configs/accelerate/zero3.yaml"
ENGINE = "_zero3_engine"
LEFT = ("pre_bwd_fn", "post_bwd_fn", "_external_params", "_original_parameters")
"""What an engine leaves on the parts of its network, beside names that begin with ``ds_``."""
MOMENTS = ("exp_avg", "exp_avg_sq")


def settings() -> dict[str, Any]:
    """What the launcher asks of ZeRO, in DeepSpeed's words.

    Raises:
        NeedNotMet: DeepSpeed is not installed, or asked for something else than ZeRO-3 in memory.
        ConfigError: Its settings cannot be read.
    """
    require("deepspeed", "sharding by DeepSpeed")
    from accelerate.utils import DeepSpeedPlugin

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # it tells on standard output what it does
    warnings.filterwarnings("ignore", r"`torch\.distributed\.", FutureWarning)  # names that it calls torch by
    try:
        asked: dict[str, Any] = DeepSpeedPlugin().deepspeed_config.get("zero_optimization", {})
    except (OSError, ValueError) as error:
        raise ConfigError(f"settings of DeepSpeed: {str(error).splitlines()[0]}: see {FILE}") from error
    if (stage := asked.get("stage", 0)) != 3:
        raise NeedNotMet(f"ZeRO stage {stage}: only 3 is supported: launch with {FILE}")
    for name in ("offload_param", "offload_optimizer"):
        if (place := (asked.get(name) or {}).get("device", "none")) not in ("none", "cpu"):
            raise NeedNotMet(f"{name}_device = {place}: only none and cpu are supported: launch with {FILE}")
    return {name: value for name, value in asked.items() if value != "auto"}


def is_cut(weight: Tensor) -> bool:
    """Whether DeepSpeed has cut a weight."""
    return hasattr(weight, "ds_id")


def shard(network: Any) -> Any:
    """Cut a network that lies on the CPU, weight by weight; a layer is put together for each of its forward passes."""
    import deepspeed

    process = this_process()
    deepspeed.init_distributed(dist_backend=process.backend, verbose=False)
    deepspeed.zero.Init(module=network, config_dict_or_path=_config())
    for buffer in network.buffers():
        buffer.data = buffer.data.to(process.device)
    rest(network)
    return network


def train(network: nn.Module, optimizer: torch.optim.Optimizer, limit: float) -> Any:
    """The engine that trains a network until it is to `rest`.

    Args:
        network: What was added to it since it was cut is cut now.
        optimizer: Over its trainable weights.
        limit: Most norm of a gradient.
    """
    _stop(network)
    return _start(network, _config(limit), optimizer)


def rest(network: nn.Module) -> None:
    """Let a network be asked only, from now on; optimiser and gradients leave memory."""
    _stop(network)
    config = _config()
    config["zero_optimization"]["stage3_param_persistence_threshold"] = 0  # so that `part` is all there is of a weight
    _start(network, config)


def _config(limit: float = 0.0) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": limit,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {**settings(), "overlap_comm": False},  # accumulation by the caller allows no overlap
    }


def _start(network: nn.Module, config: dict[str, Any], optimizer: torch.optim.Optimizer | None = None) -> Any:
    import deepspeed
    from deepspeed.runtime.zero import parameter_offload

    engine, *_ = deepspeed.initialize(model=network, optimizer=optimizer, config=config)
    parameter_offload.FWD_MODULE_STACK.remove(network)  # or no network would ever leave memory
    vars(network)[ENGINE] = engine
    return engine


def _stop(network: nn.Module) -> None:
    """Take an engine off a network, whose weights stay cut; its own ``destroy`` leaves a good deal behind."""
    for part in network.modules():
        if (engine := vars(part).pop(ENGINE, None)) is not None:
            engine.destroy()
            engine.module_forward_pre_hook.remove()
            engine.module_forward_post_hook.remove()
    for part in network.modules():
        for name in [name for name in vars(part) if name in LEFT or name.startswith("ds_")]:
            del vars(part)[name]
        part._parameters = {**part._parameters}
    cut: list[Any] = [weight for weight in network.parameters() if is_cut(weight)]
    for weight in cut:
        vars(weight).pop("_z3_optimizer", None)
        weight.ds_persist = False
        weight.ds_active_sub_modules.clear()
    cut[0].partition(param_list=cut)


def whole(weight: Any) -> Tensor:
    """A cut weight put together, in training as precise as it is stepped; every process has to ask."""
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    if _is_stepped(weight):
        return safe_get_full_fp32_param(weight)
    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().clone()


def fill(weight: Any, tensor: Tensor) -> None:
    """Put a whole tensor into a cut weight; every process has to, with the same one."""
    import deepspeed
    from deepspeed.utils import safe_set_full_fp32_param

    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
        weight.data.copy_(tensor)
    if _is_stepped(weight):
        safe_set_full_fp32_param(weight, tensor.to(weight.device, torch.float32))


def part(weight: Any) -> Tensor:
    """What a process has of a cut weight of a network at rest; what is written to it is in the weight."""
    return weight.ds_tensor


def _is_stepped(weight: Any) -> bool:
    return hasattr(weight, "_z3_optimizer") and weight.requires_grad


def forget_gradients(engine: Any) -> None:
    """Begin a step; a weight that it does not reach would be stepped by its last gradient again."""
    engine.optimizer.zero_grad()
    engine.optimizer.grad_partitions_flat_buffer.zero_()


def gradient_norm(engine: Any) -> Tensor:
    """Norm of the gradient of the step that comes next, over all processes."""
    from deepspeed.utils import safe_get_local_grad

    engine.optimizer.finalize_gradient_accumulation_boundary()  # takes gradients to where the optimiser lies
    parts = [safe_get_local_grad(weight) for weight in engine.module.parameters() if weight.requires_grad]
    square = torch.stack([part.float().square().sum() for part in parts]).sum()
    torch.distributed.all_reduce(square)
    return square.sqrt()


class Moments:
    """The state of AdamW in an engine, in the form that one process gives it: by number of the weight, whole."""

    def __init__(self, engine: Any) -> None:
        """`engine`: one that trains."""
        self._cut = engine.optimizer
        self._weights = [weight for weight in engine.module.parameters() if weight.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """The moments put together, none before the first step; every process has to ask."""
        from deepspeed.utils import safe_get_full_optimizer_state

        if not (states := [*self._cut.optimizer.state.values()]):
            return {"state": {}}
        return {
            "state": {
                number: {"step": states[0]["step"]}
                | {name: safe_get_full_optimizer_state(weight, name) for name in MOMENTS}
                for number, weight in enumerate(self._weights)
            }
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Cut such moments; every process has to ask."""
        from deepspeed.utils import safe_set_full_optimizer_state

        states = state_dict["state"]
        for flat in self._cut.fp32_partitioned_groups_flat if states else ():
            moments = {name: torch.zeros_like(flat, requires_grad=False) for name in MOMENTS}
            self._cut.optimizer.state[flat] = {"step": next(iter(states.values()))["step"].clone(), **moments}
        for number, state in states.items():  # a weight that no step has reached has none
            for name in MOMENTS:
                value = state[name].to(self._weights[number].device, torch.float32)
                safe_set_full_optimizer_state(self._weights[number], value, name)
