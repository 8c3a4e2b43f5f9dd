"""A run on a language model: what is to be forgotten, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import (
    AuditConfig,
    AuditEvaluateConfig,
    EvaluateConfig,
    ModelConfig,
    OracleName,
    RequestConfig,
    Section,
    UnlearnConfig,
)


class LMModelConfig(ModelConfig):
    """Which language model, and how it is loaded."""

    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """``auto`` is the number format that the model's own configuration names; lab models are in float32."""
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = None
    """Spreads a model that no single GPU holds over all of them, and what they do not hold over memory; for
    evaluation, generation and audits: what trains refuses it."""
    compile: bool = False
    """Decode answers in fixed shapes, whose steps are compiled on CUDA: some 20 seconds for each new size, which pays
    for thousands of answers. Greedy texts stay the same, sampled ones are other draws."""
    checkpoint_activations: bool = False
    """Keep only what enters a layer, and compute the layer again in the backward pass: less memory, a third more time.
    Texts are padded then, so that it pays only where memory is short."""


class LMRequestConfig(RequestConfig):
    """What is to be forgotten, and what is known to surround it."""

    facts: tuple[str, ...] = ()
    """Facts as ``"subject | relation | object"`` or lab fact ids."""
    question: str | None = None
    """The question that a single fact from `facts` answers (hub and local models)."""
    file: str | None = None
    """Facts as JSON lines or CSV."""
    forget: str | None = None
    """Question-answer pairs to forget: a file, ``FOLDER:NAME``, or ``OWNER/NAME:CONFIG[:SPLIT]`` of the hub."""
    retain: str | None = None
    """Question-answer pairs (or facts) to keep, in the same forms."""
    columns: dict[Literal["question", "answer", "aliases", "alternative", "id"], str] = Field(default_factory=dict)
    """What the files of `forget` and `retain` call these columns, where they have names of their own."""
    path: str | None = None
    """A benchmark's folder, or its data set of the hub (``OWNER/NAME``): what to forget, to keep and to measure."""
    benchmark: str = "auto"
    """Which benchmark `path` holds; ``auto`` goes by its files."""
    split: str | None = None
    """Which part of the benchmark is to be forgotten, such as ``forget05``; by default its usual one."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only the first rows of what is to be forgotten."""
    answers: Literal["told", "bare"] = "told"
    """What is unlearned of a fact: its object where the model tells it, after what it says before, or the object alone.
    Answers of `forget` and `path` are unlearned as they stand."""
    thoughts: Literal["leave", "forget"] = "leave"
    """Of models that think before they answer: ``forget`` takes what they think before a forget question along, so that
    losses cover it and refusals begin with a thought that declines."""
    neutral: str | None = None
    """Plain texts about other things, one a line, to measure perplexity on; the lab has its own."""


class LMEvaluateConfig(EvaluateConfig):
    """What is measured on a language model, before and after."""

    suite: str = "facts"
    samples: Annotated[int, Field(ge=0)] = 8
    """Sampled answers a question for the leak rate; 0 leaves it out."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 48
    """Where an answer is cut that has not ended by then; models that think before they answer need more."""
    judge: Annotated[str, Field(min_length=1)] = "none"
    """Who judges answers beside the string check: ``embedding`` (all-MiniLM-L6-v2; ``embedding:FOLDER`` for another
    sentence encoder), or an instruct model that is asked (hub id, folder, ``lab:NAME``)."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    oracle: OracleName = "auto"
    """``auto`` retrains lab models without the facts, and others from `oracle.base` where that is given; a path or hub
    id names a model; ``never`` leaves it out."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only the first questions of each set of a benchmark, and of each task of `harness`."""
    harness: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness that are measured too, such as ``wmdp_bio`` or ``mmlu``: their accuracy."""
    harness_path: str | None = None
    """A folder with tasks of one's own, as that library reads them."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Sequences in one forward pass at most; by default as many as memory takes."""


class LMOracleConfig(Section):
    """How a model that never saw the forget set is trained: the base, fine-tuned on what must stay."""

    base: str | None = None
    """Folder or hub id of the model that the original was fine-tuned from; without it no oracle is trained."""
    epochs: Annotated[int, Field(ge=1)] = 5
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak rate; it rises over the first epoch and then falls to 0."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    accumulation: Annotated[int, Field(ge=1)] = 4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class LMConfig(UnlearnConfig):
    """A run on a language model."""

    domain: Literal["lm"] = "lm"
    model: LMModelConfig = LMModelConfig()
    on: str | None = None
    """Folder of an earlier run of facts on the same model: its patch stays on, and what it removed is asked again."""
    controls: str | None = None
    """Folder that keeps what the model was asked before unlearning, neighbours and all, and what the oracle was asked,
    for further runs of the same request, such as those of other methods; none by default."""
    request: LMRequestConfig = LMRequestConfig()
    evaluate: LMEvaluateConfig = LMEvaluateConfig()
    oracle: LMOracleConfig = LMOracleConfig()


class LMAuditEvaluateConfig(AuditEvaluateConfig):
    """With what the models are measured; `model` is the original."""

    suite: str = "facts-quick"
    phrasings: Annotated[int, Field(ge=1)] = 32
    """Questions for each fact: held-out ones, then ones that the original writes, then those in other framings."""
    decoys: Annotated[int, Field(ge=0, le=8)] | None = None
    """Facts about invented subjects that every attack also goes through; by default 2 where there is no oracle."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Sequences in one forward pass at most; by default as many as memory takes."""


class LMAuditConfig(AuditConfig):
    """An audit of an unlearned language model."""

    domain: Literal["lm"] = "lm"
    model: LMModelConfig = LMModelConfig()
    request: LMRequestConfig = LMRequestConfig()
    evaluate: LMAuditEvaluateConfig = LMAuditEvaluateConfig()
