"""WHP ("Who's Harry Potter"): learn the generic token in each place, told by a model that knows the subject too well.

    v_generic = v_other - alpha ReLU( v_reinforced - v_other )
    L = mean_F mean_t CE( argmax v_generic, theta ) + mean_R CE

v_reinforced are the logits after further training on the forget set, v_other those of the original where the subject
goes by the name of another.

Source: Eldan and Russinovich, "Who's Harry Potter? Approximate Unlearning in LLMs" (2023), section 2.
Deviations: the only anchored term is the fact's subject, and the model itself gives the name that replaces it (`names`
overrides it); further training is for a number of steps, not for epochs over a corpus; there is a retain term, which
``retain_weight = 0`` takes away.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Splits, Train, with_sides
from genunlearn.methods.general.supervised import Supervised
from genunlearn.methods.lm.base.rounds import InRounds, Places, TargetTuning, answer_logits, write_places
from genunlearn.methods.lm.base.subjects import other_names, renamed_logits


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WHP(InRounds):
    """Who's Harry Potter: fine-tuning on generic predictions."""

    name: ClassVar[str] = "whp"
    needs: ClassVar[Needs] = Needs(facts=True)
    paper: ClassVar[str] = "Eldan and Russinovich, 2023"
    equation: ClassVar[str] = "CE(argmax(v_other - alpha ReLU(v_reinforced - v_other)), theta) on F + CE(R)"

    alpha: Annotated[float, Field(ge=0, description="how much a token loses that further training raises")] = 5.0
    reinforce_steps: Annotated[int, Field(ge=1, description="steps of further training on the forget set")] = 20
    names: Annotated[tuple[str, ...], Field(description="a name to put in the subject's place; the first is used")] = ()
    retain_weight: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    seed: Annotated[int, Field(ge=0, description="seed of everything sampled")] = 0

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Find the generic tokens with a reinforced model, undo the reinforcement, and train on them.

        Raises:
            DataError: A question belongs to no fact, or does not name its subject.
        """
        targets = self._targets(train, model, splits, journal)
        objective = TargetTuning(targets=targets, alpha=self.retain_weight)
        given = with_sides(splits, splits.forget, splits.retain if self.retain_weight else None)
        return self.until_forgotten(train, objective, given, model, journal, splits)

    def _targets(self, train: Train, model: Any, splits: Splits, journal: Journal) -> dict[str, Places]:
        names = other_names(model, splits, self.names, count=1, seed=self.seed, journal=journal)
        others = [renamed_logits(model, item, *names[str(item.fact)])[0] for item in splits.forget]
        train.mark()
        train(Supervised(), with_sides(splits, (), splits.forget), steps=self.reinforce_steps)

        def write() -> dict[str, Places]:
            reinforced = answer_logits(model, splits.forget)
            return {
                item.id: write_places(generic_prediction(other, strong, self.alpha), top=1)
                for item, other, strong in zip(splits.forget, others, reinforced, strict=True)
            }

        targets = journal.stage("targets", write)
        train.back()
        return targets


def generic_prediction(other: Tensor, reinforced: Tensor, alpha: float) -> Tensor:
    """Certainty of the generic token in each place, ``(tokens, vocab)``; 0 in a place that `other` leaves out."""
    logits = other - alpha * torch.relu(reinforced - other)
    certain = torch.nn.functional.one_hot(logits.nan_to_num(0.0).argmax(-1), logits.shape[-1]).to(logits)
    return torch.where(logits.isnan(), 0.0, certain)
