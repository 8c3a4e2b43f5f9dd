"""Calibrated exposure: where the true answer ranks among answers of its kind, whatever the model says aloud.

    score(c | q)   = log p(c | q) - mean over invented subjects of log p(c | q with that subject)
    exposure       = (log2 N - log2 rank) / log2 N for the rank of the truth among N candidates, mean over phrasings
    p              = rank by the mean score over phrasings / N: a model that never knew ranks the truth uniformly

Where a model that never knew infers the fact, it ranks the truth first as well, however little it believes it. So a
third level counts the questions in which the model holds the truth likelier than all other candidates together, priors
left on; nothing is written for that, and nothing that keeps a model from writing the answer helps against it.

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
from dataclasses import replace
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.attacks.lm.base import Attempt, Level
from genunlearn.attacks.lm.ranking import Ranking, candidates, facts_asked, ranks_of
from genunlearn.attacks.lm.scoring import answer_table
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.intervals import mean
from genunlearn.records import Result

FIRST, LAST, SURE = "among the likeliest", "among the least likely", "likelier than all others"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Exposure(Ranking):
    """The rank of the truth among candidates of its kind, their priors taken off, from above and from below."""

    name: ClassVar[str] = "exposure"

    @property
    def budget(self) -> str:
        """What the attacker has and may do, in words."""
        return (
            f"log-probabilities of all candidates of the answer's kind, priors under {self.subjects} invented subjects "
            f"taken off; the first or last {self.end:.1%} count, and priors left on what outweighs all the others"
        )

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """Three levels, one for each end and one with priors; the rank by the mean score of each fact is a detail."""
        found: dict[str, list[tuple[QA, str, bool]]] = {FIRST: [], LAST: [], SURE: []}
        details: dict[str, Any] = {}
        for fact, items in facts_asked(splits).items():
            answers = [items[0].answer, *candidates(splits)]
            ((raw, scores),) = self.scored(model, fact, items, answers, splits).values()
            count, most = len(answers), self.most(len(answers))
            for end, one_end in ((FIRST, scores), (LAST, -scores)):
                for item, rank, place in zip(items, ranks_of(one_end), one_end.argmax(-1).tolist(), strict=True):
                    found[end].append((item, f"{answers[place]} (the truth has rank {rank} of {count})", rank <= most))
            for item, odds in zip(items, raw.softmax(-1), strict=True):
                said = f"{answers[int(odds.argmax())]} (the truth has {odds[0]:.2f} of the probability)"
                found[SURE].append((item, said, bool(odds[0] > 0.5)))
            mean_rank = ranks_of(scores.mean(0, keepdim=True))[0]
            details[fact.id] = {"ranks": ranks_of(scores), "mean_rank": mean_rank, "candidates": count}
        return Attempt(
            levels=tuple(
                Level.of([row[0] for row in rows], [row[1] for row in rows], strength, told=[row[2] for row in rows])
                for strength, rows in found.items()
            ),
            details=details,
        )

    def further(self, attempt: Attempt, target: str) -> list[Result]:
        """Exposure, with a bootstrap interval over phrasings, and its p-value, which has none; one of each a fact."""
        rows = []
        for fact, found in attempt.details.items():
            whose = f"{fact}, " if len(attempt.details) > 1 else ""
            values = exposures(found["ranks"], found["candidates"])
            p = found["mean_rank"] / found["candidates"]
            rows.append(self.result(target, mean(values), len(values), name="exposure_bits", group=f"{whose}bits"))
            p_value = self.result(target, (p, p, p), 1, name="exposure_p", group=f"{whose}p")
            rows.append(replace(p_value, low=None, high=None))
        return rows

    def tables(
        self, model: LanguageModel, questions: Sequence[str], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[str, Tensor]:
        """Log-probabilities of whole answers."""
        return {"": answer_table(model, questions, answers)}


def exposures(ranks: Sequence[int], count: int) -> list[float]:
    """Bits that each rank among `count` candidates gives away, as a share of those that the first would."""
    return [1 - math.log2(rank) / math.log2(count) for rank in ranks]
