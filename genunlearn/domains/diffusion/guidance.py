"""How predictions for an image's prompt and for others become one, and what a patch says of it.

A method that works while images are made changes no weight: it sets a rule. Its patch is a small JSON file, which
puts the rule back in force on any pipeline that reads the prompts it names. Whoever has the weights leaves the rule
out (`Diffusion.without_rule`), and gets the original.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from genunlearn.errors import DataError, NeedNotMet
from genunlearn.ops.denoising import guide
from genunlearn.records import hash_json

RULE_FILE = "guidance.json"
"""The name of a rule in a patch's folder."""
CHANGED = (
    "changed after it was written (its hash differs): fetch or write it again; --force, or request.force = true, takes "
    "it all the same"
)
LARGEST = 1e6
"""Settings of rules are below it."""


class GuidanceRule(abc.ABC):
    """How the predictions for an image's prompt and for others become one."""

    @abc.abstractmethod
    def others(self, scale: float) -> tuple[str | None, ...]:
        """Prompts to be evaluated besides the image's own; None is the pipeline's empty prompt."""

    @abc.abstractmethod
    def combine(self, outputs: Tensor, scale: float, step: int, memory: dict[str, Tensor]) -> Tensor:
        """One prediction from many, ``(batch, channels, height, width)``.

        Args:
            outputs: ``(1 + others, batch, channels, height, width)``, the own prompt's first.
            scale: The guidance scale.
            step: Number of the step, counted from 0.
            memory: Empty at the first step; what is put there is there at the next.
        """


@dataclass(frozen=True)
class ClassifierFree(GuidanceRule):
    """``eps(0) + scale (eps(c) - eps(0))``, where a negative prompt may take the place of the empty one."""

    method: ClassVar[str] = "negative_prompt"

    negative: str | None = None

    def others(self, scale: float) -> tuple[str | None, ...]:
        """The empty or negative prompt, unless the scale is 1 and it has no say."""
        return () if scale == 1 else (self.negative,)

    def combine(self, outputs: Tensor, scale: float, step: int, memory: dict[str, Tensor]) -> Tensor:
        """Classifier-free guidance."""
        return outputs[0] if len(outputs) == 1 else guide(outputs[0], outputs[1], scale)


@dataclass(frozen=True, kw_only=True)
class SafeGuidance(GuidanceRule):
    """Guidance towards the prompt less guidance towards the concepts (SLD; see ``methods/diffusion/sld.py``).

    Attributes:
        concepts: The prompt that is guided away from.
        strength: s.
        threshold: lam.
        momentum: m.
        momentum_decay: beta.
        warmup: Steps without safety guidance.
    """

    method: ClassVar[str] = "sld"

    concepts: str
    strength: float
    threshold: float
    momentum: float
    momentum_decay: float
    warmup: int

    def others(self, scale: float) -> tuple[str | None, ...]:
        """The empty prompt and the concepts."""
        return (None, self.concepts)

    def combine(self, outputs: Tensor, scale: float, step: int, memory: dict[str, Tensor]) -> Tensor:
        """Safe latent guidance; `memory` carries nu."""
        prompt, empty, concept = outputs
        difference = prompt - concept
        weight = (self.strength * difference).abs().clamp(max=1)
        weight = torch.where(difference >= self.threshold, torch.zeros_like(weight), weight)
        velocity = memory.get("velocity", torch.zeros_like(prompt))
        safety = weight * (concept - empty) + self.momentum * velocity
        memory["velocity"] = self.momentum_decay * velocity + (1 - self.momentum_decay) * safety
        guidance = prompt - empty - (safety if step >= self.warmup else 0)
        return empty + scale * guidance


RULES: dict[str, type[ClassifierFree] | type[SafeGuidance]] = {
    kind.method: kind for kind in (ClassifierFree, SafeGuidance)
}


def rule_note(rule: GuidanceRule, base: Mapping[str, Any]) -> dict[str, Any]:
    """What a patch says of a rule: its method, its settings, the base that it was set on, and a hash of these.

    Args:
        rule: The rule.
        base: What a patch says of its base; see `identity.Identity.header`.

    Raises:
        NeedNotMet: There is nothing to say, or no reader would know the rule.
    """
    if rule == ClassifierFree():
        raise NeedNotMet("no rule of guidance was set: there is nothing to export as 'guidance'")
    if not isinstance(rule, ClassifierFree | SafeGuidance):
        raise NeedNotMet(f"the rule {type(rule).__name__} is not one that a patch can hold: {', '.join(RULES)} are")
    note = {"method": rule.method, "settings": asdict(rule), **base}
    return {**note, "sha256": hash_json(note)}


def read_rule(path: Path, *, force: bool = False) -> tuple[GuidanceRule, dict[str, Any]]:
    """The rule that a patch's file puts in force, and all that the file says.

    Args:
        path: A file as `rule_note` fills it.
        force: Take it even if it was changed after it had been written.

    Raises:
        DataError: It is no such file, has a value that a rule cannot have, or was changed.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file, or a damaged one; write or fetch it again") from error
    kind = RULES.get(str(note.get("method"))) if isinstance(note, dict) else None
    if kind is None:
        raise DataError(f"{path}: no method at inference that this package knows: {', '.join(RULES)} are")
    settings = note.get("settings")
    types = {field.name: field.type for field in fields(kind)}
    if not isinstance(settings, dict) or settings.keys() != types.keys():
        raise DataError(f"{path}: the settings of {kind.method} are {', '.join(types)}")
    for name, value in settings.items():
        if not _fits(value, str(types[name])):
            raise DataError(f"{path}: {name} = {value!r} is no value that {kind.method} can have")
    if not force and not _is_sealed(note):
        raise DataError(f"{path}: {CHANGED}")
    return kind(**settings), note


def _is_sealed(note: dict[str, Any]) -> bool:
    try:
        return hash_json({key: value for key, value in note.items() if key != "sha256"}) == note.get("sha256")
    except UnicodeEncodeError:  # half a character, which JSON can spell and no hash was ever taken of
        return False


def _fits(value: Any, kind: str) -> bool:
    if kind == "float":
        return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < LARGEST
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, str) and value.isprintable()
