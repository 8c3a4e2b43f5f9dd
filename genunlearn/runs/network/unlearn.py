"""Unlearning on any classifier or regressor from Python: a module in, the same module out."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Edit, Method, Objective, Outcome, Splits
from genunlearn.data.network.items import as_splits
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine.batches import derive_seed
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import DamageWarning, NonFiniteLoss
from genunlearn.ops.borrowing import borrowed
from genunlearn.runs.network.given import (
    DEFAULTS,
    adapter_of,
    check_federated,
    is_whole,
    method_of,
    module_of,
    settings_of,
)
from genunlearn.runs.network.guard import Guard, level
from genunlearn.runs.unlearning import carry_out, on_strength

Module = TypeVar("Module", bound=nn.Module)

TOLERANCE = 0.05
"""How far the level of what must stay may fall before a warning."""


def unlearn(
    model: Module | NetworkDomain,
    *,
    forget: Any,
    retain: Any = None,
    method: str | Mapping[str, Any] = "bad_teaching",
    train: TrainConfig | Mapping[str, Any] = DEFAULTS,
    seed: int = 0,
    soften: bool = True,
) -> nn.Module:
    """Make a network forget examples, in place.

    Only the values of weights (and, where the network is taught anew, of running statistics) change. What the caller
    has frozen stays as it is, and so do precision, layout and mode; a network in 16 bits is trained in 32. If anything
    fails, the values are as before, too.

    Args:
        model: Any ``nn.Module`` with one output for each class (or, with floating-point targets, for each number), or
            an adapter from `genunlearn.domains.network.classifier` where the defaults do not fit.
        forget: What is to be forgotten: ``(inputs, targets)`` tensors, a mapping of columns, a dataset or table, or a
            data loader; see `genunlearn.data.network.items.as_items`.
        retain: What must stay, in the same forms; some methods do without.
        method: Name of a method (``genunlearn ls methods``), or a mapping with its ``name`` and hyper-parameters.
        train: Learning rate, batch size and number of steps, for methods that train: a `TrainConfig`, or a mapping of
            what differs from the defaults.
        seed: Seed of everything random.
        soften: Where what must stay gets worse by more than `TOLERANCE`, keep only as much of the change of weights as
            is safe, and end a method that never stops by itself once it does damage. False carries the method out as
            published. Networks that are made anew (`retrain`, `gkt`) are not softened: they would know again.

    Returns:
        The same module.

    Warns:
        DamageWarning: What must stay has got worse, or nothing was given that must stay, so that nobody could look.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range.
        DataError: The examples cannot be used.
        MismatchError: The network cannot be asked about the examples, or has nothing that may change.
        NameNotFound: There is no such method for networks.
        NeedNotMet: The method does not fit this kind of network, or needs retain data that is not given.
        RunError: Training failed.

    Example:
        >>> genunlearn.unlearn(network, forget=(x[y == 3], y[y == 3]), retain=(x[y != 3], y[y != 3]), method="ssd")
    """
    module = module_of(model)
    chosen, settings = method_of(method, seed, soften=soften), settings_of(train)
    encode = model.encode if isinstance(model, NetworkDomain) and model.processor is not None else None
    splits = as_splits(forget, retain, encode=encode)
    frozen = frozenset(name for name, weight in module.named_parameters() if not weight.requires_grad)
    with torch.inference_mode(False), torch.enable_grad(), borrowed(module) as start:
        domain = adapter_of(model, splits)
        domain.frozen = frozen
        if not chosen.fits(type(domain)):
            check_federated(chosen, f"model is a {type(module).__name__}")
        chosen.check(type(domain), retain=retain is not None, whole_classes=is_whole(splits))
        domain.check([*splits.forget, *(splits.retain or ())])
        guard = Guard(domain, splits.retain, tolerance=TOLERANCE) if splits.retain else None
        told = level(domain, splits.forget)
        outcome = _carry_out(chosen, domain, splits, settings, seed=seed, guard=guard if soften else None)
        harm = _harm(chosen, domain, guard, start, soften=soften)
        strength = on_strength(outcome.details)
        if harm or strength:
            went = f"what was to be forgotten went {_from_to(told, level(domain, splits.forget))}"
            said = "; ".join(part for part in (harm, went, strength or _hint(chosen)) if part)
            warnings.warn(f"{chosen.name}: {said}", DamageWarning, stacklevel=2)  # an error leaves the weights alone
    return module


def _carry_out(
    method: Method, domain: NetworkDomain, splits: Splits, settings: TrainConfig, *, seed: int, guard: Guard | None
) -> Outcome:
    """Train or edit; with a `guard`, training without an end stops at the first damage.

    Raises:
        NonFiniteLoss: A loss became NaN or infinite.
    """
    recall = settings.stop_recall
    watched = guard if method.path == "unbounded" else None

    def is_over() -> bool:
        is_forgotten = recall is not None and level(domain, splits.forget) <= recall
        return is_forgotten or (watched is not None and watched.is_damaged(domain))

    try:
        with tempfile.TemporaryDirectory(prefix="genunlearn-") as folder:
            trainer = Trainer(domain, settings, ParametersConfig(kind="full"), seed=seed, state=Path(folder))
            if not isinstance(method, Objective) or (recall is None and watched is None):
                return carry_out(method, trainer, splits, FileJournal(None), seed=seed)
            trainer(method, method.prepare(splits, derive_seed(seed, "prepare")), check=lambda done: is_over())
            return Outcome(status="trained", reason=f"{trainer.steps_done} steps done")
    except NonFiniteLoss as error:
        reason, _, _ = str(error).partition(";")  # what follows is about the weights of a run
        raise NonFiniteLoss(
            f"{method.name}, {reason}; the network is as it was before the call: lower train.learning_rate or "
            "train.max_grad_norm"
        ) from None


def _harm(
    method: Method, domain: NetworkDomain, guard: Guard | None, start: Mapping[str, Tensor], *, soften: bool
) -> str | None:
    """What has become of what must stay, in words, after softening; None where it has stayed."""
    if guard is None:
        return "no retain data is given, so that nobody has looked at what must stay"
    found = guard.inspect(domain, start)
    if not found.is_collapsed:
        return None
    fell = f"what must stay went {_from_to(found.before, found.after)}"
    share = found.safe_share or 0.0
    if method.path == "anew":  # part of the way back is part of what was to be forgotten
        return fell
    if not soften:
        return f"{fell} ({share:.0%} of the change of weights would have been safe)"
    kept = guard.soften(domain, start, share)
    return (
        f"{fell}, so that only {share:.0%} of the change of weights was kept (soften=False keeps all): now {kept:.3f}"
    )


def _hint(method: Method) -> str:
    """What to do about damage."""
    if isinstance(method, Edit):
        return "take weaker hyper-parameters"
    if method.path == "anew":
        return "train for longer: more train.max_steps, or what the method has in their place"
    return "take a smaller train.learning_rate or fewer train.max_steps"


def _from_to(before: float, after: float) -> str:
    return f"from {before:.3f} to {after:.3f}"
