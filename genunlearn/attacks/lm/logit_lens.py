"""The logit lens: what the model would say if it ended after an earlier layer.

    score(c | q) = log softmax(head(norm(h_l)))[first token of c]

with h_l what layer l puts out at the last token of the prompt. Unlearning that changes the last layers alone leaves the
answer readable before them. The truth counts as told where it is among the first candidates, their priors taken off.

Sources: nostalgebraist, "interpreting GPT: the logit lens" (2020); Lynch et al., "Eight Methods to Evaluate Robust
Unlearning in LLMs" (2024), latent knowledge. Deviation: candidates that begin with the same token count once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.lm.layers import LayerRanks
from genunlearn.attacks.lm.ranking import LEAST, candidates, facts_asked
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import MismatchError


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LogitLens(LayerRanks):
    """The rank of the answer's first token after earlier layers."""

    name: ClassVar[str] = "logit_lens"

    @property
    @override
    def budget(self) -> str:
        depths = ", ".join(f"{depth:g}" for depth in self.depths)
        return (
            f"hidden states, read by the model's own head at {depths} of its depth; priors under {self.subjects} "
            f"invented subjects taken off; the first {self.end:.1%} count"
        )

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """Candidates must begin differently, and the model must have a head that can be read."""
        if reason := super().lacking(model, splits, beside):
            return reason
        try:
            model.final_norm()
        except MismatchError as error:
            return str(error)
        if model.network.get_output_embeddings() is None:
            return "the model has no output head of its own"
        for items in facts_asked(splits).values():
            have = len(self.rankable(model, [items[0].answer, *candidates(splits)]))
            if have < LEAST:
                return f"needs {LEAST} candidates that begin with different tokens, has {have}"
        return None

    @override
    def rankable(self, model: LanguageModel, answers: Sequence[str]) -> list[str]:
        first: dict[int, str] = {}
        for answer in answers:
            first.setdefault(_first_token(model, answer), answer)
        return list(first.values())

    @override
    def read(
        self, model: LanguageModel, states: Mapping[int, Tensor], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[int, Tensor]:
        head, norm, last = model.network.get_output_embeddings(), model.final_norm(), len(model.decoder_layers()) - 1
        tokens = torch.tensor([_first_token(model, answer) for answer in answers], device=model.device)
        found = {}
        for layer, state in states.items():
            seen = state.to(head.weight.dtype)
            # the last layer's output has been through the norm
            logits = head(seen if layer == last else norm(seen))
            found[layer] = logits.float().log_softmax(-1)[:, tokens]
        return found


def _first_token(model: LanguageModel, answer: str) -> int:
    return model.encode("?", answer)[1][0]
