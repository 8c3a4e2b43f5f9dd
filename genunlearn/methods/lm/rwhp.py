"""RWHP: learn what one would say of the subject if nothing were known of it but the names of others.

    target_t = mean_n p_0( y_t | question about name n, y_<t )
    L = mean_F mean_t CE( target_t, theta ) + alpha mean_R CE

p_0 is the original model; names n are of the subject's kind. What the names have in common (the form of an answer)
survives the mean, what is particular to one does not.

Source: Liu et al., "Revisiting Who's Harry Potter: Towards Targeted Unlearning from a Causal Intervention Perspective"
(EMNLP 2024), section 3. Authors' settings: 20 names on WPU, 1 on TOFU, no retain data.
Deviations: the model itself gives the names (`names` overrides them); targets are kept to their `top` likeliest tokens;
places that are taken by the name itself are left out instead of moving mass from one name to the other; the authors'
counterfactual prompt is left out; there is a retain term, which ``alpha = 0`` takes away.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Splits, Train, with_sides
from genunlearn.methods.lm.base.rounds import InRounds, Places, TargetTuning, write_places
from genunlearn.methods.lm.base.subjects import other_names, renamed_logits


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RWHP(InRounds):
    """Who's Harry Potter, revisited: distillation from questions about others."""

    name: ClassVar[str] = "rwhp"
    needs: ClassVar[Needs] = Needs(facts=True)
    paper: ClassVar[str] = "Liu et al., EMNLP 2024"
    equation: ClassVar[str] = "CE(mean of p_0 under other names, theta) on F + alpha CE(R)"

    names: Annotated[tuple[str, ...], Field(description="names to put in the subject's place")] = ()
    count: Annotated[int, Field(ge=1, description="most names")] = 20
    top: Annotated[int, Field(ge=1, description="tokens of a target that are kept")] = 50
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    seed: Annotated[int, Field(ge=0, description="seed of everything sampled")] = 0

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Write the targets down with the model as it is, then train on them.

        Raises:
            DataError: A question belongs to no fact, or does not name its subject.
        """
        others = other_names(model, splits, self.names, count=self.count, seed=self.seed, journal=journal)

        def write() -> dict[str, Places]:
            return {
                item.id: write_places(mean_prediction(renamed_logits(model, item, *others[str(item.fact)])), self.top)
                for item in splits.forget
            }

        targets = journal.stage("targets", write)
        objective = TargetTuning(targets=targets, alpha=self.alpha)
        given = with_sides(splits, splits.forget, splits.retain if self.alpha else None)
        return self.until_forgotten(train, objective, given, model, journal, splits)


def mean_prediction(logits: Tensor) -> Tensor:
    """Mean of predictions ``(names, tokens, vocab)`` over the names that have the place; 0 where none has."""
    return logits.softmax(-1).nanmean(0).nan_to_num(0.0)
