"""LUNAR-like redirection: bring a layer's states on forget questions to where questions about strangers are.

    r = mean_n h_0(question about stranger n) - mean_F h_0(question)
    L = gamma mean_F |h - (h_0 + r)|^2 / d + alpha mean_R mean_t |h(t) - h_0(t)|^2 / d

h are the d-dimensional states after one layer; on the forget set at the prompt's last token. A model that says it does
not know a stranger says so of the subject too.

Source: Shen et al., "LUNAR: LLM Unlearning via Neural Activation Redirection" (2025), section 4.
Deviations: strangers are invented names in the place of the subject, where the authors take harmful questions or
questions on invented facts; the layer is given instead of searched for; what is trained is what `parameters` says, not
one down projection; it is called "-like" for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Objective,
    Outcome,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
)
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.telling import recall
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.hidden import layer_at
from genunlearn.methods.lm.base.rounds import CHUNK, Watched
from genunlearn.methods.lm.base.subjects import fact_of, renamed
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import answer_mean

DEPTH = 0.5
STRANGERS = ("Tobin Ashgrave", "Merel Vantongeren", "Okwudili Strand", "Ysolde Pennacchi")


@plain_dataclass(frozen=True, kw_only=True)
class Redirection(Objective[LanguageModel]):
    """Distance of a layer's states from the original's, shifted on the forget side.

    Attributes:
        shift: ``(width,)``.
        layer: Number of the layer; None for `DEPTH`.
        gamma: Weight of the forget term.
        alpha: Weight of the retain term.
    """

    name: ClassVar[str] = "redirection"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    equation: ClassVar[str] = "gamma |h - (h_0 + r)|^2 on F + alpha |h - h_0|^2 on R"

    shift: Sequence[float]
    layer: int | None
    gamma: float
    alpha: float

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        terms = {}
        for side, examples in batch.sides():
            labels = model.output_labels(examples)
            states = predicting(model.layer_states(examples, self.layer, DEPTH))
            before = predicting(reference.ask("layer_states", examples, self.layer, DEPTH))
            if side == "forget":
                goal = before + torch.tensor(self.shift).to(before)
                distance = (at_first(states, labels) - at_first(goal, labels)).square().mean(-1)
                terms[side] = Term.of(distance, examples, side, self.gamma)
            elif self.alpha:
                distance = answer_mean((states - before).square().mean(-1), labels)
                terms[side] = Term.of(distance, examples, side, self.alpha)
        return terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Lunar(Watched):
    """Redirection of a layer's states."""

    name: ClassVar[str] = "lunar"
    needs: ClassVar[Needs] = Needs(retain=True, facts=True)
    paper: ClassVar[str] = "Shen et al., 2025"
    equation: ClassVar[str] = "|h - (h_0 + r)|^2 on F + alpha |h - h_0|^2 on R"

    layer: Annotated[int | None, Field(ge=0, description="decoder layer from 0; by default the middle one")] = None
    strangers: Annotated[tuple[str, ...], Field(min_length=1, description="names that the model does not know")] = (
        STRANGERS
    )
    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the retain term")] = 1.0

    def check_model(self, model: Any) -> None:
        """Refuse a model without the layer."""
        layer_at(self.layer, DEPTH, model.network.config.num_hidden_layers)

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Find the shift with the model as it is, then train for ``train.max_steps`` steps.

        Raises:
            DataError: A question belongs to no fact, or does not name its subject.
        """

        def find() -> list[float]:
            strange = [renamed(item, fact_of(item, splits), name) for item in splits.forget for name in self.strangers]
            far, near = (self._states(model, items).mean(0) for items in (strange, splits.forget))
            return (far - near).tolist()

        shift = journal.stage("shift", find)
        objective = Redirection(shift=shift, layer=self.layer, gamma=self.gamma, alpha=self.alpha)
        best = self.watch(train, model, splits, journal, unit="phase")
        train(objective, splits)
        best.offer(journal.stage("recall", lambda: recall(model, splits.forget)), 1)
        return self.outcome(best)

    @torch.no_grad()
    def _states(self, model: Any, items: Sequence[QA]) -> Tensor:
        parts = []
        with evaluating(model.module):
            for start in range(0, len(items), CHUNK):
                examples = model.collate(items[start : start + CHUNK])
                states = predicting(model.layer_states(examples, self.layer, DEPTH))
                parts.append(at_first(states, model.output_labels(examples)))
        return torch.cat(parts)


def predicting(states: Tensor) -> Tensor:
    """A layer's states at the places that predict the answer, ``(batch, answer, width)``."""
    return states[:, :-1].float()


def at_first(states: Tensor, labels: Tensor) -> Tensor:
    """The state that predicts each answer's first token, ``(batch, width)``."""
    first = (labels != IGNORE).int().argmax(-1)
    return states[torch.arange(len(first)), first]
