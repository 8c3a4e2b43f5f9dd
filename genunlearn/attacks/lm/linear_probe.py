"""A linear probe: whether the answer can be read off the hidden state by a map that other facts have taught.

    W = argmin sum_i ||y_i - W h_i||^2 + ridge ||W||^2,   score(c | q) = cos(W h(q), y(c))

over questions i that must stay answered, with h_i what a layer puts out at the last token of the prompt and y the mean
of the output embeddings of an answer's tokens, both centred. The map has never seen the forgotten fact. The truth
counts as told where it is among the first candidates, their priors taken off.

Sources: Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2017); Lynch et al.,
"Eight Methods to Evaluate Robust Unlearning in LLMs" (2024), latent knowledge. Deviation: the probe maps to answers
rather than to classes, since the forgotten answer is no class that other facts could teach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.lm.base import scope_of
from genunlearn.attacks.lm.layers import LayerRanks, before_answers
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.data.lm.telling import evenly
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import refuse_sharded

FEWEST = 32
"""Questions without which a map teaches nothing."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LinearProbe(LayerRanks):
    """The rank of the answer by a linear map from hidden states to answers."""

    name: ClassVar[str] = "linear_probe"

    examples: Annotated[int, Field(ge=FEWEST, description="questions that must stay, which teach the map")] = 400
    ridge: Annotated[float, Field(gt=0, description="weight of the penalty, of the mean variance of a direction")] = 0.1

    @property
    @override
    def budget(self) -> str:
        depths = ", ".join(f"{depth:g}" for depth in self.depths)
        return (
            f"hidden states at {depths} of the depth, and a linear map from {self.examples} other questions; the first "
            f"{self.end:.1%} count"
        )

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be other questions to learn the map from."""
        have = len(scope_of(splits).retain)
        if have < FEWEST:
            return f"needs {FEWEST} questions that must stay to learn from, has {have}"
        if model.network.get_output_embeddings() is None:
            return "the model has no output head of its own"
        return super().lacking(model, splits, beside)

    @override
    def read(
        self, model: LanguageModel, states: Mapping[int, Tensor], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[int, Tensor]:
        taught: Sequence[QA] = evenly(scope_of(splits).retain, self.examples)
        inputs = before_answers(model, [item.question for item in taught])
        wanted, offered = _vectors(model, [item.answer for item in taught]), _vectors(model, answers)
        centre = wanted.mean(0)
        found = {}
        for layer, state in states.items():
            own = inputs[:, layer]
            weights = ridge_map(own - own.mean(0), wanted - centre, self.ridge)
            told = (state - own.mean(0)) @ weights
            found[layer] = torch.cosine_similarity(told[:, None], (offered - centre)[None], dim=-1)
        return found


def ridge_map(inputs: Tensor, outputs: Tensor, ridge: float) -> Tensor:
    """The linear map of least squared error, with a penalty relative to the mean variance of an input direction.

    Args:
        inputs: ``(n, width)``, centred.
        outputs: ``(n, answers' width)``, centred.
        ridge: Weight of the penalty.

    Returns:
        ``(width, answers' width)``.
    """
    gram = inputs.T @ inputs
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + penalty, inputs.T @ outputs)


def _vectors(model: LanguageModel, answers: Sequence[str]) -> Tensor:
    """The mean output embedding of each answer's tokens, its end of turn left out."""
    refuse_sharded(model.network, "attack 'linear_probe'")
    rows = model.network.get_output_embeddings().weight
    turns = [model.chat.turn([{"role": "user", "content": "?"}], answer) for answer in answers]
    spans = [turn.answer[: len(turn.answer) - turn.ends] or turn.answer for turn in turns]
    return torch.stack([rows[torch.tensor(span, device=rows.device)].float().mean(0) for span in spans])
