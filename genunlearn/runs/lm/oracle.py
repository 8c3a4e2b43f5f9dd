"""The oracle of a language-model run: named, retrained by the lab, or the base fine-tuned on what must stay.

What is trained here lies in the lab's cache, under the hash of base, data and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.config.lm import LMConfig
from genunlearn.contracts import Splits
from genunlearn.contracts.methods import Watcher
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import check_language_model, hash_weights, resolve_folder
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.lab.cache import build_once, is_built, lab_path, recipe_key
from genunlearn.lab.lm.world_facts import REAL_LAB
from genunlearn.processes import this_process
from genunlearn.records import hash_json
from genunlearn.registry import LAB, LABS, METHODS
from genunlearn.runs.lm.request import LMRequest, is_lab, lab_name, open_model

KIND = "tuned"
VERSION = 1
"""Raise it when this code, from the same base, data and settings, gives another model."""


def why_no_oracle(config: LMConfig, request: LMRequest) -> str | None:
    """Why no model that never knew what is to be forgotten is to be had; None where one is."""
    if config.evaluate.oracle != "auto":
        return "evaluate.oracle = never" if config.evaluate.oracle == "never" else None
    if config.oracle.base is not None:
        return None if request.retain else "oracle.base has nothing to be trained on: give request.retain"
    if not is_lab(config) or lab_name(config) == REAL_LAB:
        return "no model retrained without it is known: name one in evaluate.oracle, or its base in oracle.base"
    if not request.facts:
        return "the lab retrains its model without facts, and none are named: give oracle.base"
    return None


def oracle_source(config: LMConfig, request: LMRequest, watch: Watcher | None = None) -> str:
    """Where a model lies that never knew what is to be forgotten; it is trained if need be.

    Raises:
        ConfigError: There is none; see `why_no_oracle`.
        NeedNotMet: It has to be trained, and several processes run.
    """
    if reason := why_no_oracle(config, request):
        raise ConfigError(f"no oracle: {reason}")
    if config.evaluate.oracle != "auto":
        return config.evaluate.oracle
    if config.oracle.base is not None:
        return str(fine_tuned(config, request.retain or (), watch))
    return str(LABS.get(lab_name(config), "lm")(without=[fact.id for fact in request.facts]))


def original_source(config: LMConfig, request: LMRequest, watch: Watcher | None = None) -> str:
    """Where a model lies that was trained as the oracle is, but on the forget set too: what is then to forget it.

    Raises:
        ConfigError: No base is named.
        NeedNotMet: It has to be trained, and several processes run.
    """
    if config.oracle.base is None:
        raise ConfigError("oracle.base names no model to fine-tune; give a folder or a hub id")
    return str(fine_tuned(config, (*request.forget, *(request.retain or ())), watch))


def fine_tuned(config: LMConfig, items: Sequence[QA], watch: Watcher | None = None) -> Path:
    """The folder of the base of `config.oracle`, fine-tuned on `items`; trains it if the cache does not have it.

    Raises:
        SourceNotFound: The base is not there, or not complete.
        NeedNotMet: It has to be trained, and several processes run.
        NonFiniteLoss: The training diverged; nothing is stored.
    """
    base, watch = base_folder(config), watch or Watch(is_shown=False)
    recipe = {
        **config.oracle.model_dump(mode="json", exclude={"base"}),
        "base": hash_weights(base) if base.is_dir() else str(base),
        "items": hash_json([[item.question, item.answer] for item in items]),
        "dtype": config.model.dtype,
        "seed": config.seed,
    }
    key = recipe_key(recipe, version=VERSION)
    if this_process().num_processes > 1 and not is_built(lab_path(KIND, key)):
        raise NeedNotMet("the oracle is not trained yet: run genunlearn oracle with this configuration first")

    def make(folder: Path) -> dict[str, Any]:
        watch.announce(f"fine-tuning {config.oracle.base} on {len(items)} questions")
        # A base in 4 bits could not be trained itself.
        whole = config.model_copy(update={"model": config.model.model_copy(update={"quantize": "none"})})
        steps = _train(open_model(whole, config.oracle.base), config, items, folder, watch)
        return {"kind": KIND, "version": VERSION, "recipe": recipe, "source": config.oracle.base, "steps": steps}

    return build_once(KIND, key, make, on_wait=lambda folder: watch.announce(f"waiting for {folder.name}"))


def base_folder(config: LMConfig) -> Path:
    """The folder of the base, checked.

    Raises:
        SourceNotFound: It is not there, or not complete.
    """
    source = config.oracle.base or ""
    folder = Path(LABS.get(source.removeprefix(LAB), "lm")()) if source.startswith(LAB) else resolve_folder(source)
    check_language_model(folder)
    return folder


def _train(model: LanguageModel, config: LMConfig, items: Sequence[QA], folder: Path, watch: Watcher) -> int:
    """Fine-tune `model` in place and save it into `folder`; returns the number of steps."""
    settings = config.oracle
    an_epoch = -(-len(items) // (settings.batch_size * settings.accumulation))
    train = TrainConfig(
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        max_steps=settings.epochs * an_epoch,
        warmup_steps=an_epoch,
        schedule="linear",
        weight_decay=settings.weight_decay,
        save_every=settings.epochs * an_epoch,
    )
    trainer = Trainer(model, train, ParametersConfig(kind="full"), seed=config.seed, watch=watch)
    trainer(METHODS.get("fine_tune", "lm")(reduction="tokens"), Splits(forget=(), retain=items))
    model.module = trainer.accelerator.unwrap_model(model.module)
    model.save(folder)
    return trainer.steps_done
