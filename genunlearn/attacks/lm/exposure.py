"""Calibrated exposure: where the true answer ranks among answers of its kind, whatever the model says aloud.

    score(c | q)   = log p(c | q) - mean over invented subjects of log p(c | q with that subject)
    exposure       = (log2 N - log2 rank) / log2 N for the rank of the truth among N candidates, mean over phrasings
    p              = rank by the mean score over phrasings / N: a model that never knew ranks the truth uniformly

A model may also give itself away by what it avoids: unlearning that pushes the truth below what a model that never
knew gives it leaves it at the other end, where an attacker who reads the list from below finds it. So both ends count,
each question as told where the truth is among the first, or among the last, fortieth of the candidates. Ranks of one
fact go together over phrasings: a model that never knew has one fact in twenty at either end.

Source: Carlini et al., "The Secret Sharer" (2019), exposure. Deviations: candidates are answers of the same relation in
place of all strings; the prior of each is taken off; exposure is a share of its largest value, log2 N bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked, scope_of
from genunlearn.attacks.lm.few_shot import NEAR
from genunlearn.attacks.lm.multiple_choice import others
from genunlearn.attacks.lm.scoring import answer_table
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.decoys import asked_of, invented_subjects
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.intervals import mean
from genunlearn.records import Result

FIRST, LAST = "among the likeliest", "among the least likely"
LEAST = 20
"""Candidates among which a model that never knew puts the truth first once in twenty facts at most."""
CANDIDATES = "candidates"
"""Group of ``Scope.measured`` whose answers are of the kind of the truth, where somebody hands some over."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Exposure(FactAttack):
    """The rank of the truth among candidates of its kind, their priors taken off, from above and from below."""

    name: ClassVar[str] = "exposure"

    end: Annotated[float, Field(gt=0, lt=0.5, description="share of the candidates that counts as an end")] = 0.025
    subjects: Annotated[int, Field(ge=1, le=32, description="invented subjects that priors are measured under")] = 8
    phrasings: Annotated[int, Field(ge=1, description="phrasings that each invented subject is asked in")] = 4
    seed: Annotated[int, Field(ge=0, description="of the invented subjects")] = 0

    @property
    def budget(self) -> str:
        """What the attacker has and may do, in words."""
        return (
            f"log-probabilities of all candidates of the answer's kind, priors under {self.subjects} invented subjects "
            f"taken off; the first or last {self.end:.1%} count"
        )

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be enough candidates for a first place to count, and questions that name their subject."""
        if (have := len(candidates(splits)) + 1) < LEAST:
            return f"needs {LEAST} candidates of the answer's kind, has {have}"
        if not _facts(splits):
            return "no question that is asked says which fact it asks for"
        if not all(self._invented(fact, splits) for fact in _facts(splits)):
            return "no question names its subject, so that none can be asked of an invented one"
        return None

    def attempt(self, model: LanguageModel, splits: Splits[Scope]) -> Attempt:
        """Two levels, one for each end; the rank by the mean score of each fact is a detail."""
        levels: list[list[tuple[QA, str, bool]]] = [[], []]
        details: dict[str, Any] = {}
        for fact, items in _facts(splits).items():
            answers = [items[0].answer, *candidates(splits)]
            scores = self._scores(model, items, self._invented(fact, splits), answers)
            count, most = len(answers), max(1, int(self.end * len(answers)))
            for found, one_end in zip(levels, (scores, -scores), strict=True):
                for item, rank, place in zip(items, ranks_of(one_end), one_end.argmax(-1).tolist(), strict=True):
                    found.append((item, f"{answers[place]} (the truth has rank {rank} of {count})", rank <= most))
            mean_rank = ranks_of(scores.mean(0, keepdim=True))[0]
            details[fact.id] = {"ranks": ranks_of(scores), "mean_rank": mean_rank, "candidates": count}
        return Attempt(
            levels=tuple(
                Level.of([row[0] for row in rows], [row[1] for row in rows], end, told=[row[2] for row in rows])
                for end, rows in zip((FIRST, LAST), levels, strict=True)
            ),
            details=details,
        )

    def further(self, attempt: Attempt, target: str) -> list[Result]:
        """Exposure, with a bootstrap interval over phrasings, and its p-value, one of each a fact."""
        rows = []
        for fact, found in attempt.details.items():
            whose = f"{fact}, " if len(attempt.details) > 1 else ""
            values = exposures(found["ranks"], found["candidates"])
            p = found["mean_rank"] / found["candidates"]
            rows.append(self.result(target, mean(values), len(values), name="exposure_bits", group=f"{whose}bits"))
            rows.append(self.result(target, (p, p, p), 1, name="exposure_p", group=f"{whose}p"))
        return rows

    def _scores(
        self, model: LanguageModel, items: Sequence[QA], invented: Sequence[str], answers: Sequence[str]
    ) -> Tensor:
        """Calibrated scores, ``(questions, candidates)``."""
        prior = answer_table(model, invented, answers).mean(0)
        return answer_table(model, [item.question for item in items], answers) - prior

    def _invented(self, fact: Fact, splits: Splits[Scope]) -> list[str]:
        """The fact's questions, asked of subjects that do not exist."""
        near = [item.question for item in scope_of(splits).retain if item.group == NEAR]
        names = invented_subjects(fact, near, self.subjects, self.seed)
        own = [*(item.question for item in _facts(splits)[fact]), *fact.phrasings]
        return asked_of(names, fact, own, self.phrasings)


def candidates(splits: Splits[Scope]) -> list[str]:
    """Answers of the kind of the truth, none of which tells it: handed over, or those of the same relation."""
    handed, true = scope_of(splits).measured.get(CANDIDATES), {item.answer for item in asked(splits)}
    return [item.answer for item in handed if item.answer not in true] if handed else others(splits)


def exposures(ranks: Sequence[int], count: int) -> list[float]:
    """Bits that each rank among `count` candidates gives away, as a share of those that the first would."""
    return [1 - math.log2(rank) / math.log2(count) for rank in ranks]


def ranks_of(scores: Tensor) -> list[int]:
    """Place of the first column in each row, 1 for the largest; what is equal to it stands before it."""
    return ((scores[:, 1:] >= scores[:, :1]).sum(-1) + 1).tolist()


def _facts(splits: Splits[Scope]) -> Mapping[Fact, Sequence[QA]]:
    """The questions that are asked, by their fact; all are a single fact's."""
    items, facts = asked(splits), scope_of(splits).facts
    if len(facts) == 1:
        return {facts[0]: items}
    found = {fact: [item for item in items if item.fact == fact.id] for fact in facts}
    return {fact: own for fact, own in found.items() if own}
