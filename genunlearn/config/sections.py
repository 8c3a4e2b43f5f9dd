"""What every configuration says, one section a topic: defaults, bounds and meanings; families add their own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from genunlearn.records import hash_json
from genunlearn.registry import family_of

LARGEST_SEED = 2**32 - 1
"""NumPy takes no larger one."""
LAYERS = "use all-linear, a list of names such as [q_proj, v_proj], or a regular expression over whole names"
"""What ``parameters.target_modules`` may be."""


def _names_an_oracle(value: str) -> str:
    if value.lower() in {"none", "no", "off", "false"}:
        raise PydanticCustomError("oracle", "never goes without an oracle")
    return value


OracleName = Annotated[str, AfterValidator(_names_an_oracle)]
"""``auto``, ``never``, or where a model lies that never knew what is forgotten."""


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys refused, defaults checked, no silent casts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)


class ModelConfig(Section):
    """Which model, and how it is loaded."""

    source: Annotated[str, Field(min_length=1)] = "lab:lm"
    """Hub id, local folder in the hub's format, or ``lab:NAME``."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    quantize: Literal["none", "nf4"] = "none"
    """``nf4`` loads the base in 4 bits (bitsandbytes); only LoRA can be trained on it."""
    device: str = "auto"
    prompts: str = "auto"
    """Prompt suite; ``auto`` takes ``lab`` for lab models and ``instruct`` for all others."""


class MethodConfig(BaseModel):
    """The method's name and its hyper-parameters; the method's own class checks the latter."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Annotated[str, Field(min_length=1)] = "unstar"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class ParametersConfig(Section):
    """Which weights are trained."""

    kind: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    """``all-linear``, a regular expression, or names of modules."""

    @field_validator("target_modules")
    @classmethod
    def _check_pattern(cls, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not targets or ("" in targets and not isinstance(targets, str)):
            raise PydanticCustomError("targets", f"names no layer: {LAYERS}")
        try:
            re.compile(targets if isinstance(targets, str) else "")
        except (re.error, OverflowError, RecursionError) as error:
            raise PydanticCustomError("targets", f"no regular expression ({error}): {LAYERS}") from None
        return targets


class TrainConfig(Section):
    """The training loop."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Examples of each side in one forward pass, over all processes."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps; a protocol spends them over its rounds."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    save_every: Annotated[int, Field(ge=1)] = 10
    """A killed run loses at most this many steps; on a GPU, where they are written beside training, twice as many."""
    stop_recall: Annotated[float, Field(ge=0, le=1)] | None = None
    """Objectives only: stop once the forget recall, checked every `check_every` steps, is at most this. Of all checks
    the weights with the least recall are kept."""
    utility_floor: Annotated[float, Field(ge=0, le=1)] | None = None
    """Language models, with `stop_recall`: weights are kept only if what must stay is told at least this often, as a
    share of what it was before."""
    check_every: Annotated[int, Field(ge=1)] = 5


class EvaluateConfig(Section):
    """What is measured before and after; each family adds its own."""

    suite: str
    """Named list of metrics (``genunlearn ls metrics``)."""
    attacks: tuple[str | MethodConfig, ...] | None = None
    """Names of attacks, or mappings with a ``name`` and a budget; by default the usual ones of the family."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Loss on what must stay that counts as damage, as a share."""


class RunConfig(Section):
    """Everything that decides what a run does; each family has its own request and its own evaluation."""

    task: Literal["unlearn", "audit", "value", "continual", "federated", "search", "synthetic"] = "unlearn"
    domain: str
    model: ModelConfig = ModelConfig()
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0

    @property
    def family(self) -> str:
        """The family of models that its domain belongs to."""
        return family_of(self.domain)

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain JSON data, defaults filled in."""
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Hash of the resolved configuration."""
        return hash_json(self.resolved())


class AuditEvaluateConfig(Section):
    """With what audited models are measured; each family adds its own."""

    suite: str
    """Named list of metrics (``genunlearn ls metrics``)."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """*gone* asks that no attack can bring the subject back more often than from the oracle by this much."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Loss on what must stay that counts as damage, as a share."""
    until: Literal["all", "decided"] = "all"
    """``decided`` ends the audit of a subject once no further attack can change its verdict: with plain prompts that
    show it, or an attack that brings it out by so much that it counts however many others are tried."""


class RequestConfig(Section):
    """What is to be forgotten, or is said to be; each family adds its own."""

    force: bool = False
    """Go on although there is nothing to do: the model does not know it, or is the original itself."""


class UnlearnConfig(RunConfig):
    """A run that changes a model."""

    method: MethodConfig = MethodConfig()
    parameters: ParametersConfig = ParametersConfig()
    train: TrainConfig = TrainConfig()
    request: RequestConfig
    evaluate: EvaluateConfig

    @property
    def protocol(self) -> str:
        """Line of `FAMILIES` that carries it out: that of its models, where the protocol has none of its own."""
        return self.family


class AuditConfig(RunConfig):
    """An audit of an unlearned model, beside the original that it was made from."""

    task: Literal["audit"] = "audit"
    unlearned: str = ""
    """Model folder, hub id, patch, or the folder of a run."""
    oracle: OracleName = "auto"
    """``auto`` retrains a lab model without what is forgotten; a path or hub id names a model; ``never`` leaves it
    out."""
    controls: str | None = None
    """Folder that keeps what was found on original and oracle, for further audits of the same pair; none by default."""
    attacks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Attacks by name, each with the fields that are not its defaults."""
    request: RequestConfig
    evaluate: AuditEvaluateConfig


class ValueConfig(RunConfig):
    """What training items are worth; `model` is what is taught on parts of them."""

    task: Literal["value"] = "value"
    method: MethodConfig = MethodConfig(name="ecoval_style")
    request: Section


class SyntheticConfig(RunConfig):
    """How good synthetic rows are, and whether they give forgotten ones away; `method` is the generator."""

    task: Literal["synthetic"] = "synthetic"
    method: MethodConfig = MethodConfig(name="gaussian_copula")
    request: Section
