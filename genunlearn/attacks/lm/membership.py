"""Membership inference: whether the model treats the fact as something that it was trained on.

    loss           mean log-probability of the answer's tokens
    zlib           that, over the number of bytes of the compressed answer
    min_k          mean over the least likely tokens
    min_k_plus_plus  the same over log-probabilities that are standardised by what the model expects of its own tokens
    reference      mean log-probability less that of a model that never saw the fact

Members are the fact's questions with the true answer. Non-members are matched: the same phrasing, asked of subjects
that do not exist, with other answers of the kind. A question counts as told where its score lies above all but a share
`rate` of its own non-members. Areas under the ROC curve, and PrivLeak beside a control, say it in the usual numbers.

Sources: Yeom et al. (2018), loss; Carlini et al., "Extracting Training Data from Large Language Models" (2021), zlib
and reference; Shi et al. (ICLR 2024), Min-K%; Zhang et al. (ICLR 2025), Min-K%++; Shi et al., MUSE (2024), PrivLeak.
Deviations: scores are of answers, not of whole texts; the end of turn counts as a token of the answer.
"""

from __future__ import annotations

import abc
import math
import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, scope_of
from genunlearn.attacks.lm.few_shot import NEAR
from genunlearn.attacks.lm.multiple_choice import losses
from genunlearn.attacks.lm.ranking import candidates, facts_asked
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.decoys import invented_subjects, with_subject
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.membership import auc, lowest, standardised
from genunlearn.records import Result

BATCH = 64
AREA = "membership_auc"

Kind = Literal["loss", "zlib", "min_k", "min_k_plus_plus"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Compared(FactAttack):
    """Scores of the fact's questions beside those of matched non-members."""

    others: Annotated[int, Field(ge=20, description="non-members of each question")] = 40
    rate: Annotated[float, Field(gt=0, lt=0.5, description="chance at which a non-member counts as told")] = 0.025
    seed: Annotated[int, Field(ge=0, description="of the non-members")] = 0

    @property
    @override
    def budget(self) -> str:
        return (
            f"log-probabilities of the answer's tokens beside {self.others} matched non-members of each question; "
            f"{self.rate:.1%} of those would count as told"
        )

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """Questions must name their subject, and there must be other answers."""
        if self.allowed < 0:
            least = math.ceil(1 / self.rate - 1e-9) - 1
            return f"others = {self.others} is too few for rate = {self.rate:g}: take {least} or more"
        if not candidates(splits):
            return "no other answer is of the kind, so that there are no non-members"
        if not any(self._members(fact, items) for fact, items in facts_asked(splits).items()):
            return "no question names its subject, so that there are no non-members"
        return None

    @property
    def allowed(self) -> int:
        """How many non-members may score as high as a question that counts as told."""
        return math.floor(self.rate * (self.others + 1) + 1e-9) - 1

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a score; areas under the ROC curve are a detail."""
        members, others = [], []
        for fact, items in facts_asked(splits).items():
            own = self._members(fact, items)
            members += own
            others += self._others(fact, own, splits)
        levels, areas = [], {}
        for name, scores in self.scored(model, [*members, *others], beside).items():
            mine, rest = scores[: len(members)], scores[len(members) :].view(len(members), self.others)
            higher = (rest >= mine[:, None]).sum(-1).tolist()
            pairs = zip(mine.tolist(), higher, strict=True)
            said = [f"{score:.3g}; {count} of {self.others} non-members as high" for score, count in pairs]
            levels.append(Level.of(members, said, name, told=[count <= self.allowed for count in higher]))
            areas[name] = auc(mine, rest.flatten())
        return Attempt(levels=tuple(levels), details={"auc": areas, "members": len(members)})

    @override
    def further(self, attempt: Attempt, target: str) -> list[Result]:
        """The area under the ROC curve of each score, members above non-members."""
        n = attempt.details["members"]
        return [self.result(target, area, n, name=AREA, group=name) for name, area in attempt.details["auc"].items()]

    @abc.abstractmethod
    def scored(self, model: LanguageModel, rows: Sequence[QA], beside: Beside[LanguageModel]) -> Mapping[str, Tensor]:
        """Scores ``(rows,)``, higher for what looks like a member."""

    def _members(self, fact: Fact, items: Sequence[QA]) -> list[QA]:
        return [item for item in items if with_subject(item.question, fact, "") is not None]

    def _others(self, fact: Fact, members: Sequence[QA], splits: Splits[Scope]) -> list[QA]:
        """The non-members of each question, in its order."""
        near = [item.question for item in scope_of(splits).retain if item.group == NEAR]
        names = invented_subjects(fact, near, self.others, self.seed)
        pool = candidates(splits)
        order = random.Random(self.seed).sample(pool, len(pool))
        return [
            QA(id=f"{item.id}/{name}", question=with_subject(item.question, fact, name) or "",
               answer=order[place % len(order)])
            for item in members for place, name in enumerate(names)
        ]  # fmt: skip


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Membership(Compared):
    """Scores that the model alone gives."""

    name: ClassVar[str] = "membership"

    scores: Annotated[tuple[Kind, ...], Field(min_length=1, description="each of them tried")] = (
        *("loss", "zlib", "min_k", "min_k_plus_plus"),
    )
    part: Annotated[float, Field(gt=0, le=1, description="share of the tokens that min_k takes")] = 0.4

    @override
    def scored(self, model: LanguageModel, rows: Sequence[QA], beside: Beside[LanguageModel]) -> Mapping[str, Tensor]:
        found = token_scores(model, rows, self.part)
        return {name: found[name] for name in self.scores}


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ReferenceMembership(Compared):
    """Scores beside those of a reference that never saw the fact: the oracle, which then is no control."""

    name: ClassVar[str] = "reference_membership"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be a reference other than the model itself."""
        if not beside.oracles:
            return "needs a reference that never saw the fact: name an oracle"
        if model is beside.oracles[0]:
            return "the oracle is the reference itself"
        return super().lacking(model, splits, beside)

    @override
    def scored(self, model: LanguageModel, rows: Sequence[QA], beside: Beside[LanguageModel]) -> Mapping[str, Tensor]:
        return {"reference": losses(beside.oracles[0], rows) - losses(model, rows)}


@torch.no_grad()
def token_scores(model: LanguageModel, rows: Sequence[QA], part: float) -> dict[Kind, Tensor]:
    """All scores of each row, ``(rows,)``; `part` is the share of tokens that min_k takes."""
    found: dict[Kind, list[Tensor]] = {"loss": [], "zlib": [], "min_k": [], "min_k_plus_plus": []}
    with evaluating(model.module):
        for start in range(0, len(rows), BATCH):
            chunk = rows[start : start + BATCH]
            examples = model.collate(chunk)
            labels = model.output_labels(examples)
            mask = labels != IGNORE
            # rows of logits of no answer token are as many again, and every one costs a softmax
            logits, tokens = model.output_logits(examples)[mask].float(), labels[mask]
            own = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            own, standard = (_placed(each, mask) for each in (own, standardised(logits, tokens)))
            loss = lowest(own, mask, 1.0)
            size = torch.tensor([len(zlib.compress(row.answer.encode())) for row in chunk], device=loss.device)
            found["loss"].append(loss.cpu())
            found["zlib"].append((loss / size).cpu())
            found["min_k"].append(lowest(own, mask, part).cpu())
            found["min_k_plus_plus"].append(lowest(standard, mask, part).float().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _placed(values: Tensor, mask: Tensor) -> Tensor:
    """Values of what counts, in their places, 0 elsewhere: as `mask`."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
