"""One search: weights learn on one half of the training items, the architecture on the other.

Source: DARTS, section 3.1: SGD with momentum on a cosine for the weights, Adam for the architecture, one step of each
in turn. Deviations: see `genunlearn.backbones.operations`; sizes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from genunlearn.backbones.cells import Genotype, discretise
from genunlearn.backbones.darts import Loss, first_order, forget_gap, second_order, unlearning_steps
from genunlearn.backbones.networks import SearchNetwork
from genunlearn.errors import NonFiniteLoss

MOMENTUM, DECAY, CLIP = 0.9, 3e-4, 5.0
BETAS, ALPHA_DECAY = (0.5, 0.999), 1e-3


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a search goes.

    Attributes:
        epochs: Passes over the half that weights learn on.
        batch_size: Items of each half in a step.
        rate: Of the weights; falls to `least_rate` on a cosine over the epochs.
        least_rate: See `rate`.
        alpha_rate: Of the architecture.
        is_second_order: Whether the architecture's gradient reaches through a step of the weights.
        forgettability: Weight of the forgettability term; 0 leaves it out.
        unlearning_steps: k of that term.
        unlearning_rate: eta of that term.
    """

    epochs: int
    batch_size: int = 64
    rate: float = 0.025
    least_rate: float = 0.001
    alpha_rate: float = 3e-4
    is_second_order: bool = False
    forgettability: float = 0.0
    unlearning_steps: int = 2
    unlearning_rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class SearchItems:
    """What is searched on, each a pair of pictures ``(n, channels, height, width)`` and class numbers ``(n,)``.

    Attributes:
        train: The half that weights learn on.
        valid: The half that the architecture is judged by.
        is_forget: Which of `train` are to be forgotten, ``(n,)``.
    """

    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    is_forget: Tensor


class Optimizers:
    """Both optimisers of a search as one, for its checkpoints."""

    def __init__(self, weights: torch.optim.Optimizer, alphas: torch.optim.Optimizer) -> None:
        self.weights, self.alphas = weights, alphas

    @property
    def _first(self) -> int:
        return sum(len(group["params"]) for group in self.weights.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """The states of both; those of the architecture are numbered after those of the weights."""
        moved = {self._first + number: state for number, state in self.alphas.state_dict()["state"].items()}
        return {"state": {**self.weights.state_dict()["state"], **moved}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Give each its own again."""
        states, first = state_dict["state"], self._first
        mine = {number: state for number, state in states.items() if number < first}
        others = {number - first: state for number, state in states.items() if number >= first}
        self.weights.load_state_dict({**self.weights.state_dict(), "state": mine})
        self.alphas.load_state_dict({**self.alphas.state_dict(), "state": others})


class Search:
    """A search in progress.

    Attributes:
        network: Every operation at once.
        optimizers: Their state is all that a search keeps besides the network.
    """

    def __init__(self, network: SearchNetwork, items: SearchItems, settings: SearchSettings, *, seed: int) -> None:
        """Nothing is trained yet; the order of the items is a function of seed and epoch."""
        self.network, self.items, self.settings, self.seed = network.train(), items, settings, seed
        self._names, self._weights = map(list, zip(*network.weights(), strict=True))
        self._alphas = list(network.alphas)
        self.optimizers = Optimizers(
            torch.optim.SGD(self._weights, lr=settings.rate, momentum=MOMENTUM, weight_decay=DECAY),
            torch.optim.Adam(self._alphas, lr=settings.alpha_rate, betas=BETAS, weight_decay=ALPHA_DECAY),
        )
        self._ceiling = math.log(network.classifier.out_features)

    def epoch(self, number: int) -> dict[str, float]:
        """Carry out epoch `number`, counted from 0.

        Returns:
            ``train_loss``, ``valid_loss`` and ``valid_accuracy`` before each step, averaged, ``entropy`` of the
            architecture's shares (in nats, mean over edges) after the epoch, and ``forget_gap`` where it is asked for.

        Raises:
            NonFiniteLoss: A loss became NaN or infinite.
        """
        rate = self._rate(number)
        for group in self.optimizers.weights.param_groups:
            group["lr"] = rate
        seen: list[dict[str, float]] = []
        for step, (train, valid) in enumerate(self._batches(number)):
            seen.append(self._step(train, valid, rate, (number, step)))
        means = {name: sum(row[name] for row in seen) / len(seen) for name in seen[0]}
        return {**means, "entropy": self._entropy(), "rate": rate}

    def genotype(self) -> Genotype:
        """What would be kept now."""
        return discretise(*self.network.shares())

    # ---- one step --------------------------------------------------------------------------------------------

    def _step(self, train: Tensor, valid: Tensor, rate: float, place: tuple[int, int]) -> dict[str, float]:
        """The architecture first, then the weights."""
        noted: dict[str, float] = {}
        inner, judged = self._loss(self.items.train, train), self._logits(self.items.valid, valid)

        def outer(weights: Sequence[Tensor]) -> Tensor:
            logits, targets = judged(weights)
            loss = F.cross_entropy(logits, targets)
            noted["valid_loss"] = float(loss.detach())
            noted["valid_accuracy"] = float((logits.argmax(1) == targets).float().mean())
            if self.settings.forgettability:
                gap = self._gap_after(weights, place)
                noted["forget_gap"] = float(gap.detach())
                loss = loss + self.settings.forgettability * gap
            return loss

        if self.settings.is_second_order:
            momentum = self._momentum()
            slopes = second_order(inner, outer, self._weights, self._alphas, rate=rate, momentum=momentum, decay=DECAY)
        else:
            slopes = first_order(outer, self._weights, self._alphas)
        for alpha, slope in zip(self._alphas, slopes, strict=True):
            alpha.grad = slope
        self.optimizers.alphas.step()

        loss = inner(self._weights)
        noted["train_loss"] = float(loss.detach())
        if not all(map(math.isfinite, noted.values())):
            bad = next(name for name, value in noted.items() if not math.isfinite(value))
            raise NonFiniteLoss(f"{bad} is {noted[bad]} in epoch {place[0]} of the search: lower search.learning_rate")
        self.optimizers.weights.zero_grad()
        loss.backward(inputs=self._weights)
        torch.nn.utils.clip_grad_norm_(self._weights, CLIP)
        self.optimizers.weights.step()
        return noted

    def _logits(self, items: tuple[Tensor, Tensor], rows: Tensor) -> Any:
        x, y = items[0][rows], items[1][rows]
        alphas = {f"alphas.{number}": alpha for number, alpha in enumerate(self._alphas)}

        def call(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            given = {**dict(zip(self._names, weights, strict=True)), **alphas}
            return functional_call(self.network, given, (x,)), y

        return call

    def _loss(self, items: tuple[Tensor, Tensor], rows: Tensor) -> Loss:
        call = self._logits(items, rows)
        return lambda weights: F.cross_entropy(*call(weights))

    # ---- forgettability --------------------------------------------------------------------------------------

    def _gap_after(self, weights: Sequence[Tensor], place: tuple[int, int]) -> Tensor:
        """The gap after k unlearning steps, on items that these steps have not seen where there are enough."""
        forget, retain = (
            self._drawn(side, (*place, number))
            for number, side in enumerate((self.items.is_forget, ~self.items.is_forget))
        )
        half = [max(1, len(rows) // 2) for rows in (forget, retain)]
        taught = self._gap(forget[: half[0]], retain[: half[1]])
        tested = self._gap(forget[-half[0] :], retain[-half[1] :])
        k, eta = self.settings.unlearning_steps, self.settings.unlearning_rate
        after = unlearning_steps(taught, weights, steps=k, rate=eta, through=self.settings.is_second_order)
        return tested(after)

    def _gap(self, forget: Tensor, retain: Tensor) -> Loss:
        """One batch for both sides, so that normalisation sees the same statistics."""
        call, count = self._logits(self.items.train, torch.cat([forget, retain])), len(forget)

        def gap(weights: Sequence[Tensor]) -> Tensor:
            logits, targets = call(weights)
            losses = F.cross_entropy(logits, targets, reduction="none")
            return forget_gap(losses[count:], losses[:count], self._ceiling)

        return gap

    def _drawn(self, side: Tensor, place: tuple[int, ...]) -> Tensor:
        rows = side.nonzero()[:, 0]
        return rows[torch.randperm(len(rows), generator=self._draw(*place))[: self.settings.batch_size]]

    # ---- what a step is made of ------------------------------------------------------------------------------

    def _rate(self, number: int) -> float:
        low, high = self.settings.least_rate, self.settings.rate
        return low + (high - low) * (1 + math.cos(math.pi * number / self.settings.epochs)) / 2

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of both halves, step by step; the validation half begins again where it is the shorter one."""
        size = self.settings.batch_size
        train = torch.randperm(len(self.items.train[1]), generator=self._draw(number, -1)).split(size)
        valid = torch.randperm(len(self.items.valid[1]), generator=self._draw(number, -2)).split(size)
        full = [rows for rows in valid if len(rows) == len(valid[0])]
        for step, rows in enumerate(train):
            if len(rows) > 1:  # a batch of one has no statistics
                yield rows, full[step % len(full)]

    def _draw(self, *place: int) -> torch.Generator:
        """Random numbers of a place in the search, the same whenever it is reached."""
        words = torch.tensor([self.seed, *place], dtype=torch.int64)
        mixed = 0
        for word in words.tolist():
            mixed = (mixed * 1_000_003 + word + 17) % (2**63 - 1)
        return torch.Generator().manual_seed(mixed)

    def _momentum(self) -> list[Tensor] | None:
        states = [self.optimizers.weights.state[weight].get("momentum_buffer") for weight in self._weights]
        if any(buffer is None for buffer in states):
            return None
        return [MOMENTUM * buffer for buffer in states]

    def _entropy(self) -> float:
        shares = torch.cat(self.network.shares()).detach()
        return float(-(shares * shares.clamp_min(1e-12).log()).sum(1).mean())
