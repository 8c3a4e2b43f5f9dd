"""One process of a training run; `test_sharding` starts it alone, and two of it that share the weights.

python -m tests.engine.one_of_sharded MODEL OUT KIND...
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from genunlearn.attacks.lm.base import twin_of
from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import gathered, is_sharded
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import NeedNotMet
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
from genunlearn.methods.lm.sam_npo import SamNPO
from genunlearn.processes import is_asked_for, this_process
from tests.engine.one_of_several import QUESTIONS
from tests.worlds import lm_splits

SETTINGS = TrainConfig(learning_rate=5e-3, batch_size=2, accumulation=2, max_steps=4, save_every=2)


class Cut(Exception):
    """The run ends here."""


def train(folder: str, kind: str, state: Path, check: Callable[[int], bool] | None = None) -> Trainer:
    """NPO on LoRA or full weights."""
    model = LanguageModel.load(folder)
    settings = SETTINGS if check is None else SETTINGS.model_copy(update={"check_every": 3})
    trainer = Trainer(model, settings, ParametersConfig(kind=kind, rank=4), seed=2, state=state)
    trainer(NPO(), lm_splits(), check=check)
    return trainer


def seen(folder: str, kind: str, out: Path) -> dict[str, Any]:
    """What this process sees of a whole run, and of one that ends after three steps and is taken up again."""
    trainer = train(folder, kind, Path(f"{out}-whole"))
    model: LanguageModel = trainer.domain
    result = {
        "sharded": is_sharded(model.network),
        "history": trainer.history,
        "greedy": model.answer(QUESTIONS, batch_size=2),
        "sampled": model.generate(
            [[{"role": "user", "content": question}] for question in QUESTIONS],
            samples=2,
            temperature=1.0,
            max_new_tokens=6,
        ),
    }
    with gathered(model.network):
        if this_process().is_main_process:
            save = parameters.save_patch if kind == "lora" else parameters.save_whole
            save(model, Path(f"{out}-saved"))

    def cut(done: int) -> bool:
        raise Cut

    state, left = Path(f"{out}-cut"), out.with_name(f"one-{kind}-left")
    try:
        train(folder, kind, state, cut)
    except Cut:
        if not result["sharded"]:
            shutil.copytree(state, left)
        result["resumed"] = train(folder, kind, state).history
    if result["sharded"]:
        own = Path(f"{out}-{this_process().process_index}-taken")
        shutil.copytree(left, own)
        result["taken_over"] = train(folder, kind, own).history
    return result | {"refused": [*refused(model, kind)]}


def refused(model: LanguageModel, kind: str) -> Iterator[str]:
    """Why sharded full weights have no second model, and a sharded base takes no LoRA in; empty for one process.

    Also why their gradients cannot be taken within a step, and why an attack has no copy to change.
    """
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    trained = ParametersConfig(kind=kind, rank=4)

    def fuse() -> None:
        Trainer(LanguageModel.load(model.origin["source"]), settings, trained, seed=0).fuse()

    def copy() -> None:
        Trainer(model, settings, trained, seed=0)(GradDiff(retain_loss="kl"), lm_splits())

    def perturb() -> None:
        Trainer(LanguageModel.load(model.origin["source"]), settings, trained, seed=0)(SamNPO(), lm_splits())

    for ask in (fuse if kind == "lora" else copy, perturb, lambda: twin_of(model)):
        try:
            ask()
            yield ""
        except NeedNotMet as error:
            yield str(error)


def main(folder: str, out: str, *kinds: str) -> None:
    """Write down what this process sees of each kind."""
    torch.set_num_threads(1)
    if is_asked_for("DEEPSPEED"):
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo alone: compiling this one takes minutes
    for kind in kinds:
        rank = this_process().process_index
        Path(f"{out}-{kind}-{rank}.json").write_text(json.dumps(seen(folder, kind, Path(f"{out}-{kind}"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
