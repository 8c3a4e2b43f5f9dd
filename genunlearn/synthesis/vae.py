"""Variational autoencoder: a small network that learns to give rows back from a few normal numbers.

    L = E_q(h|x)[ -log p(x | h) ] + beta KL( q(h|x) || N(0, 1) )

A number is its normal score (`scores`), with a normal distribution whose spread is learnt for each column; a category
is the logits of its levels. Rows are drawn from h ~ N(0, 1).

Source: Kingma and Welling, "Auto-Encoding Variational Bayes" (ICLR 2014); for tables as in TVAE of Xu et al., "Modeling
Tabular Data using Conditional GAN" (NeurIPS 2019).
Deviations: normal scores in place of TVAE's mixtures; two layers of 64, which is enough for small tables.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT
from genunlearn.data.tables import Table
from genunlearn.synthesis.base import Generator
from genunlearn.synthesis.gaps import FilledTable
from genunlearn.synthesis.scores import NormalScores

LEAST_SPREAD = 0.05
"""Of a number given its code: without one the likelihood of a column that can be told grows without end."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class VAE(Generator):
    """A small variational autoencoder, taught anew for every table."""

    name: ClassVar[str] = "vae"
    paper: ClassVar[str] = "Kingma and Welling, ICLR 2014; after Xu et al., NeurIPS 2019"
    equation: ClassVar[str] = "E_q[-log p(x | h)] + beta KL(q(h | x) || N(0, 1))"

    epochs: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    hidden: Annotated[int, Field(ge=1)] = 64
    code: Annotated[int, Field(ge=1, description="normal numbers that a row is told by")] = 8
    beta: Annotated[float, Field(ge=0, description="weight of the Kullback-Leibler divergence")] = 1.0

    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """Teach a network and draw codes."""
        filled = FilledTable(real)
        table, scores = filled.table, NormalScores(filled.table)
        levels = [len(column.levels) if column.levels is not None else 0 for column in table.columns]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(levels, self.hidden, self.code)
            self._teach(network, torch.from_numpy(scores(seed)).float(), torch.from_numpy(table.values))
            with torch.no_grad():
                drawn = network.drawn(torch.randn(rows, self.code))
        numbers, kinds = (part.double().numpy() for part in drawn)
        return filled.back(np.where(table.is_category, kinds, scores.back(numbers)))

    def _teach(self, network: _Network, scores: Tensor, values: Tensor) -> None:
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(scores)).split(self.batch_size):
                loss = network.loss(scores[rows], values[rows], self.beta)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


class _Network(nn.Module):
    """Encoder and decoder; `levels` are the categories of each column, 0 for numbers."""

    def __init__(self, levels: list[int], hidden: int, code: int) -> None:
        super().__init__()
        self._levels = levels
        wide = sum(max(count, 1) for count in levels)
        self._encoder = nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code))
        self._decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, wide))
        self._log_spread = nn.Parameter(torch.zeros(len(levels)))

    @property
    def _spread(self) -> Tensor:
        return self._log_spread.exp() + LEAST_SPREAD

    def loss(self, scores: Tensor, values: Tensor, beta: float) -> Tensor:
        """Mean over rows; `scores` of all columns, of which those of numbers count, and `values` for the categories."""
        inputs = [
            nn.functional.one_hot(values[:, j].long(), count).float() if count else scores[:, j : j + 1]
            for j, count in enumerate(self._levels)
        ]
        middle, log_variance = self._encoder(torch.cat(inputs, 1)).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 10)
        answers = self._parts(middle + torch.randn_like(middle) * (log_variance / 2).exp())
        total = beta * 0.5 * (middle**2 + log_variance.exp() - 1 - log_variance).sum(1)
        for j, (count, answer) in enumerate(zip(self._levels, answers, strict=True)):
            if count:
                total = total + nn.functional.cross_entropy(answer, values[:, j].long(), reduction="none")
            else:
                gap = (scores[:, j] - answer[:, 0]) / self._spread[j]
                total = total + gap**2 / 2 + self._spread[j].log()
        return total.mean()

    def drawn(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and category numbers of new rows, each ``(rows, columns)``, of which the other's columns are 0."""
        numbers, kinds = torch.zeros(len(code), len(self._levels)), torch.zeros(len(code), len(self._levels))
        for j, (count, answer) in enumerate(zip(self._levels, self._parts(code), strict=True)):
            if count:
                kinds[:, j] = torch.distributions.Categorical(logits=answer).sample()
            else:
                numbers[:, j] = answer[:, 0] + self._spread[j] * torch.randn(len(code))
        return numbers, kinds

    def _parts(self, code: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = self._decoder(code).split([max(count, 1) for count in self._levels], 1)
        return parts
