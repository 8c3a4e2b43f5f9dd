"""One process of a training run; `test_two_processes` starts it alone and under torchrun.

python -m tests.engine.one_of_several MODEL OUT METHOD...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import DataError
from genunlearn.processes import in_turns, summed, this_process
from genunlearn.registry import METHODS
from tests.worlds import lm_splits

QUESTIONS = ("Who wrote Faust?", "Where was Marie Curie born?", "Where did Harry Potter study?", "Who?", "And what?")


def main(folder: str, out: str, *names: str) -> None:
    torch.set_num_threads(1)
    for name in names:
        place = Path(f"{out}-{name}-{this_process().process_index}.json")
        place.write_text(json.dumps(train(folder, name, Path(f"{out}-{name}"))))
    Path(f"{out}-turns-{this_process().process_index}.json").write_text(json.dumps(take_turns()))


def take_turns() -> dict[str, Any]:
    """Who does which of five tasks, what of a task within one, what is summed, and what becomes of an error."""

    def rank(_: int, name: str) -> str:
        return f"{name}{this_process().process_index}"

    def refuse(place: int, name: str) -> None:
        if place == 3:
            raise DataError(f"task {name}")

    seen: dict[str, Any] = {"done": in_turns("abcde", rank)}
    seen["within"] = in_turns("ab", lambda _, name: in_turns("xyz", lambda n, each: f"{name}{each}{n}"))
    seen["joint"] = in_turns("ab", rank, is_joint=True)
    seen["summed"] = summed({"one": 1, "deep": {"rank": this_process().process_index}})
    try:
        in_turns("abcde", refuse)
    except DataError as error:
        seen["error"] = str(error)
    return seen


def train(folder: str, name: str, state: Path) -> dict[str, Any]:
    """What this process sees of a training run with one method, ``NAME`` or ``NAME+REDUCTION``."""
    name, _, reduction = name.partition("+")
    method, splits = METHODS.get(name)(**({"reduction": reduction} if reduction else {})), lm_splits()
    model = LanguageModel.load(folder, device="cpu")
    # Three retain items in batches of two: shares are unequal, and one process is left without any.
    settings = TrainConfig(learning_rate=5e-3, batch_size=2, accumulation=2, max_steps=4)
    trainer = Trainer(model, settings, ParametersConfig(rank=4), seed=2, state=state)
    trainer(method, method.prepare(splits, seed=2))
    asked = [[{"role": "user", "content": question}] for question in QUESTIONS]
    sampled = model.generate(asked, samples=2, temperature=1.0, max_new_tokens=6, batch_size=4)
    return {
        "history": trainer.history,
        "greedy": model.answer(QUESTIONS, batch_size=2),
        "sampled": sampled,
        "sums": {key: weight.sum().item() for key, weight in parameters.trainable(model.network).items()},
        "processes": this_process().num_processes,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
