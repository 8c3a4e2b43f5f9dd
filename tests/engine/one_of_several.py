"""One process of a training run; `test_two_processes` starts it alone and under torchrun.

python -m tests.engine.one_of_several MODEL METHOD OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.lm import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.processes import this_process
from genunlearn.registry import METHODS
from tests.worlds import lm_splits

QUESTIONS = ("Who wrote Faust?", "Where was Marie Curie born?", "Where did Harry Potter study?", "Who?", "And what?")


def main(folder: str, name: str, out: str) -> None:
    torch.set_num_threads(1)
    method, splits = METHODS.get(name)(), lm_splits()
    model = LanguageModel.load(folder, device="cpu")
    # Three retain items in batches of two: shares are unequal, and one process is left without any.
    train = TrainConfig(learning_rate=5e-3, batch_size=2, accumulation=2, max_steps=4)
    trainer = Trainer(model, train, ParametersConfig(rank=4), seed=2, state=Path(out))
    trainer(method, method.prepare(splits, seed=2))
    asked = [[{"role": "user", "content": question}] for question in QUESTIONS]
    sampled = model.generate(asked, samples=2, temperature=1.0, max_new_tokens=6, batch_size=4)
    sums = {key: weight.sum().item() for key, weight in parameters.trainable(model.network).items()}
    seen = {
        "history": trainer.history,
        "greedy": model.answer(QUESTIONS, batch_size=2),
        "sampled": sampled,
        "sums": sums,
        "processes": this_process().num_processes,
    }
    Path(f"{out}-{this_process().process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
