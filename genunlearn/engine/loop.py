"""The one training loop.

Methods return sums; the loop divides by the number of examples of each side, or of their tokens, over accumulation
and processes, so that one process and four, one batch of 8 and eight of 1, give the same step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from genunlearn.config import TrainConfig
from genunlearn.contracts import Batch, Objective, Reduction, Reference, Terms
from genunlearn.engine.batches import PairedBatches, derive_seed
from genunlearn.engine.updates import WholeUpdate
from genunlearn.errors import NonFiniteLoss

Entry = dict[str, float]
Every = tuple[int, Callable[[int, Entry], bool | None]]
Counts = dict[tuple[str, Reduction], Tensor]

REDUCTIONS: tuple[Reduction, ...] = ("examples", "tokens")


def every(steps: int, then: Callable[[int, Entry], bool | None]) -> Every:
    """Call ``then(steps done, log entry)`` after every `steps` steps; True from it ends training."""
    return steps, then


@dataclass
class Loop:
    """Training of ``domain.module`` in place.

    Attributes:
        domain: The adapter whose trainable weights are stepped.
        objective: The loss.
        reference: The frozen model, or `NoReference`.
        batches: Items by step.
        update: Of the trainable weights.
        settings: Learning rate, schedule.
        accelerator: Device and processes.
        seed: Randomness inside a loss is a function of this seed and the step.
    """

    domain: Any
    objective: Objective
    reference: Reference
    batches: PairedBatches
    update: WholeUpdate
    settings: TrainConfig
    accelerator: Accelerator
    seed: int

    def run(self, first: int, last: int, *callbacks: Every) -> list[Entry]:
        """Do steps `first` .. `last` - 1 and return their log entries.

        Callbacks that are due after the same step are called in their order.

        Raises:
            NonFiniteLoss: A term or the gradient became NaN or infinite; the weights are those of the step before.
        """
        log: list[Entry] = []
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            try:
                for step in range(first, last):
                    self.domain.module.train()
                    log.append(self.step(step, last))
                    due = [then for interval, then in callbacks if (step + 1) % interval == 0 or step + 1 == last]
                    if any([then(step + 1, log[-1]) for then in due]):
                        break
            finally:
                self.domain.module.eval()
        return log

    def step(self, step: int, last: int) -> Entry:
        """One optimiser step; returns terms, total loss, gradient norm and learning rate."""
        torch.manual_seed(derive_seed(self.seed, step))
        rate = self.learning_rate(step, last)
        for group in self.update.param_groups:
            group["lr"] = rate
        window = [self.batches.collate(rows, self.domain) for rows in self.batches.window(step)]
        counts = self._counts(window)
        sums: dict[str, Tensor] = {}
        self.update.zero_grad()
        for number, batch in enumerate(window):
            with self.update.micro_batch(is_last=number + 1 == len(window)):
                together = self.domain.score_together(batch, self.objective.model_scores)
                terms = self.objective.loss(together, self.domain, self.reference)
                if not terms:  # a method that does not look at the only side of this micro-batch
                    continue
                self.update.backward(self._total(terms, counts) * self.accelerator.num_processes)
            for name, term in terms.items():
                share = (term.coefficient * term.sum / counts[term.side, term.reduction]).detach()
                sums[name] = sums.get(name, torch.zeros_like(share)) + share
        entry = self._entry(sums, self.update.clip(), step)
        self.update.step()
        return entry | {"learning_rate": rate}

    def learning_rate(self, step: int, last: int) -> float:
        """Warm-up, then the schedule over the steps that remain."""
        peak, warmup = self.settings.learning_rate, self.settings.warmup_steps
        if step < warmup:
            return peak * (step + 1) / warmup
        progress = (step - warmup) / max(1, last - warmup)
        shapes = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        return peak * shapes[self.settings.schedule]

    def _counts(self, window: list[Batch]) -> Counts:
        """Number of examples and of tokens by side, over the window and all processes."""
        totals: Counts = {}
        for batch in window:
            for side, examples in batch.sides():
                for reduction in REDUCTIONS if "tokens" in examples else REDUCTIONS[:1]:
                    number = examples.weights(reduction).sum()
                    totals[side, reduction] = totals.get((side, reduction), torch.zeros_like(number)) + number
        return {key: self.accelerator.reduce(total, "sum") for key, total in totals.items()}

    @staticmethod
    def _total(terms: Terms, counts: Counts) -> Tensor:
        parts = [term.coefficient * term.sum / counts[term.side, term.reduction] for term in terms.values()]
        return torch.stack(parts).sum()

    def _entry(self, sums: Mapping[str, Tensor], norm: Tensor, step: int) -> Entry:
        """Terms, their sum and the gradient's norm as numbers; the device is asked for all of them at once."""
        values = [value.float() for value in sums.values()]
        if values:
            values = [*self.accelerator.reduce(torch.stack(values), "sum")]
        *terms, size = torch.stack([*values, norm.to(self.accelerator.device).float()]).tolist()
        entry = dict(zip(sums, terms, strict=True))
        self._check_finite({**entry, "gradient norm": size}, step)
        return {"step": step + 1, "loss": sum(terms), **entry, "grad_norm": size}

    @staticmethod
    def _check_finite(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteLoss(
                    f"step {step + 1}: term {name!r} = {value}; the weights are kept as they were after step {step}: "
                    "lower train.learning_rate or train.max_grad_norm"
                )
