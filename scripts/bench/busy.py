#!/usr/bin/env python
"""How long the lab's language model trains beside other work, by how its threads wait for each other.

    python scripts/bench/busy.py                       # half a minute; --beside 0 is the machine as it is
    python scripts/bench/busy.py --beside 2 --steps 20

Trains the model of `lab:lm` for a few steps, each way in a process of its own, beside as many processes as said, and
says whether all end with the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time

WAYS: dict[str, dict[str, str]] = {
    "as OpenMP has it": {},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "a moment, asleep": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "500"},
}
"""What OpenMP is told, by label: nothing, and what importing genunlearn tells it, without and with a spin before."""

LENGTH = 40
"""Tokens of a text, about as many as the lab's."""


class Ids:
    """What the model asks of a tokenizer; the texts are drawn as ids."""

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return 2000


def train(steps: int) -> None:
    """Print seconds, CPU seconds and the hash of the weights as JSON; OpenMP reads its policy where torch loads."""
    import torch  # noqa: F401  # before genunlearn, which would set a policy

    from genunlearn.lab import determinism
    from genunlearn.lab.lm import training
    from genunlearn.lab.lm.build import Recipe, build_model

    # One step more than is timed: the first warms up.
    recipe, draw = Recipe(steps=steps + 1), random.Random(0)
    ids = [[draw.randrange(3, len(Ids())) for _ in range(LENGTH)] for _ in range(recipe.steps * recipe.batch_size)]
    texts = training.Sequences(ids, [LENGTH // 2] * len(ids))
    seen: list[tuple[float, float]] = []

    def report(step: int, total: int, loss: float) -> None:
        seen.append((time.monotonic(), time.process_time()))

    with determinism.surroundings(0):
        model = build_model(recipe, Ids())
        training.train(model, texts, recipe.schedule(), 0, report)
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    (wall, cpu), (last_wall, last_cpu) = seen[0], seen[-1]
    print(json.dumps({"seconds": last_wall - wall, "cpu": last_cpu - cpu, "sha256": digest.hexdigest()}))


def measure(told: dict[str, str], steps: int) -> dict[str, float | str]:
    """Train in a new process."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, __file__, "--steps", str(steps), "--child"]
    done = subprocess.run(command, env=settings | told, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def spin(parent: int) -> None:
    """Use a core for as long as the process that asked for it lives."""
    while os.getppid() == parent:
        pass


def main() -> None:
    """Measure every way, in turn, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=int, default=1, help="processes that use a core each meanwhile")
    parser.add_argument("--steps", type=int, default=5, help="training steps; the lab takes 900")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments.steps)
        return
    others = [multiprocessing.Process(target=spin, args=(os.getpid(),), daemon=True) for _ in range(arguments.beside)]
    for other in others:
        other.start()
    found = {way: measure(told, arguments.steps) for way, told in WAYS.items()}
    for other in others:
        other.terminate()
    first = next(iter(found.values()))
    print(f"{'threads wait':16}  seconds  CPU seconds  ratio  weights")
    for way, each in found.items():
        ratio = float(each["seconds"]) / float(first["seconds"])
        print(f"{way:16}  {each['seconds']:7.1f}  {each['cpu']:11.1f}  {ratio:5.2f}  {str(each['sha256'])[:12]}")


if __name__ == "__main__":
    main()
