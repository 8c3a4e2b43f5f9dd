"""UniCLUN: learning of tasks and forgetting in one frame, with a teacher for each.

    learning      L_cl = CE(T + M) + a1 L_od + a2 L_cd + a3 L_scd
    forgetting    L    = gamma L_cl + (1 - gamma) mean_F KL( b(x) || f(x) ),    L_cl on the memory alone

    L_od  = mean_M w || f(x) - t(x) ||^2,  w = softmax(t(x) / rho)_y     distillation, by how sure the teacher is
    L_cd  = contrast of the student's embeddings of M with the teacher's, equal labels attract
    L_scd = contrast of the student's embeddings of T + M among themselves
    t     = exponential moving average of f, moved with a probability in each step;  b an untrained network

T is a batch of the task, M one of the memory, F one of what is to be forgotten.

Source: Chatterjee, Chundawat, Tarun, Mali, Mandal, "A Unified Framework for Continual Learning and Unlearning"
(arXiv 2408.11374), eq. 2 to 11, and the released code. ``form`` chooses between the two:

    form                  paper    code
    gamma                 0.5      none: both parts count 1
    a1, a2, a3            1        0.1, 0.1, 0.3
    CE                    1 mean over T + M    1 on T and 0.5 on M
    four-way turns        -        0.3 CE of how a picture was turned
    T of the contrasts    0.1      0.07
    rho                   2        1
    moving average        0.99, probability 0.6    0.999, probability 0.2
    L_od                  sum over classes         mean over classes

The paper gives no gamma and not all constants: rho, the temperatures, the average and the weights in the column of the
paper are those of published re-implementations, gamma is ours. Any of them can be set by itself.
Deviations: the memory takes a task when it has been learnt, so a first task has neither L_od nor L_cd; both forms warm
the average up as the code does, and learn at the house's optimiser (AdamW, where the authors take SGD at 0.1); with
nothing to forget the loss is L_cl, without the factor gamma. After a request to forget the teacher becomes a copy of
the student (``teacher_after = "kept"`` leaves it as it is): an average of the past still knows what is gone.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Examples, Needs, Objective, Term, Terms
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.taught import TaughtClassifier, joined
from genunlearn.methods.network.continual.base import CURRENT, Kept, Learner, draw, mean_term
from genunlearn.ops.contrastive import confidence_weighted_distance, supervised_contrastive
from genunlearn.ops.divergences import kl_divergence

FORMS: dict[str, dict[str, float]] = {
    "paper": {
        "distil_weight": 1.0,
        "contrast_weight": 1.0,
        "supervised_weight": 1.0,
        "turn_weight": 0.0,
        "replay_weight": 1.0,
        "contrast_temperature": 0.1,
        "confidence_temperature": 2.0,
        "momentum": 0.99,
        "probability": 0.6,
    },
    "code": {
        "distil_weight": 0.1,
        "contrast_weight": 0.1,
        "supervised_weight": 0.3,
        "turn_weight": 0.3,
        "replay_weight": 0.5,
        "contrast_temperature": 0.07,
        "confidence_temperature": 1.0,
        "momentum": 0.999,
        "probability": 0.2,
    },
}

Weight = Annotated[float | None, Field(ge=0)]
Temperature = Annotated[float | None, Field(gt=0)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class UniCLUN(Learner):
    """Learning and forgetting with two teachers, an averaged one and an untrained one."""

    name: ClassVar[str] = "uniclun"
    paper: ClassVar[str] = "Chatterjee et al., arXiv 2408.11374"
    equation: ClassVar[str] = "gamma (CE + a1 L_od + a2 L_cd + a3 L_scd) + (1 - gamma) KL(b || f; F)"
    forgets: ClassVar[bool] = True

    form: Annotated[Literal["paper", "code"], Field(description="whose constants count where none is given")] = "paper"
    gamma: Annotated[float, Field(ge=0, le=1, description="share of L_cl in forgetting; the paper's form alone")] = 0.5
    distil_weight: Annotated[Weight, Field(description="a1, of L_od; null takes the form's")] = None
    contrast_weight: Annotated[Weight, Field(description="a2, of L_cd; null takes the form's")] = None
    supervised_weight: Annotated[Weight, Field(description="a3, of L_scd; null takes the form's")] = None
    turn_weight: Annotated[Weight, Field(description="of the four-way turns; null takes the form's")] = None
    replay_weight: Annotated[Weight, Field(description="of the memory's labels; null takes the form's")] = None
    contrast_temperature: Annotated[Temperature, Field(description="of both contrasts; null takes the form's")] = None
    confidence_temperature: Annotated[Temperature, Field(description="rho; null takes the form's")] = None
    momentum: Annotated[float | None, Field(ge=0, lt=1, description="of the average; null takes the form's")] = None
    probability: Annotated[
        float | None, Field(ge=0, le=1, description="that the average moves in a step; null takes the form's")
    ] = None
    projection: Annotated[int, Field(ge=0, description="numbers of an embedding; 0 compares features")] = 128
    teacher_after: Annotated[
        Literal["student", "kept"], Field(description="what the averaged teacher is after forgetting")
    ] = "student"

    def constant(self, name: str) -> float:
        """A constant by name: the one given, or the form's."""
        given: float | None = getattr(self, name)
        return FORMS[self.form][name] if given is None else given

    def surround(self, network: NetworkDomain, seed: int) -> NetworkDomain:
        """The network with its average, its heads and an untrained network beside it."""
        turns = self.constant("turn_weight") > 0
        return TaughtClassifier.around(network, projection=self.projection, turns=turns, seed=seed)

    def learning(self, kept: Kept) -> Objective[Any]:
        """L_cl on a task and the memory."""
        return Unified(kept, self)

    def forgetting(self, kept: Kept) -> Objective[Any]:
        """The whole loss on what is to be forgotten and the memory."""
        return Unlearned(kept, self)

    def settle(self, model: NetworkDomain, kept: Kept, task: list[Any], *, has_forgotten: bool) -> None:
        """After forgetting, let the averaged teacher know no more than the student."""
        if has_forgotten and self.teacher_after == "student":
            model.network.copy_student()


class Unified(Objective[TaughtClassifier]):
    """L_cl."""

    name = "uniclun_task"
    needs: ClassVar[Needs] = CURRENT

    def __init__(self, kept: Kept, method: UniCLUN) -> None:
        """Take the memory as it is before the request."""
        self._kept, self._method = kept, method

    def loss(self, batch: Batch, model: TaughtClassifier, reference: Any) -> Terms:
        """Terms ``labels``, ``memory``, ``distil``, ``contrast``, ``supervised`` and ``turns``, as far as they count.

        Moves the averaged teacher first, towards what the step before has left.
        """
        model.moves_statistics = True
        self.move_teacher(model)
        return {} if batch.retain is None else self.terms(model, batch.retain, "retain", batch.retain)

    def move_teacher(self, model: TaughtClassifier) -> None:
        """Move it, by chance."""
        if torch.rand(()) < self._method.constant("probability"):
            model.network.average(self._method.constant("momentum"))

    def terms(self, model: TaughtClassifier, task: Examples | None, side: str, counted: Examples) -> dict[str, Term]:
        """L_cl on a batch of a task, where there is one, and one of the memory.

        Args:
            model: The network with its teacher.
            task: None in forgetting.
            side: The side whose number of examples the loop divides by.
            counted: Its examples.
        """
        constant = self._method.constant
        again = draw(self._kept.memory, self._method.replay_size, model)
        parts = [part for part in (task, again) if part is not None]
        if not parts:
            return {}
        everything = joined(*parts)
        logits, embeddings = model.embed(everything)
        labels = everything["target"]
        found = self._of_labels(model.loss_of(logits, labels), task, again)
        found["supervised"] = (
            constant("supervised_weight"),
            supervised_contrastive(embeddings, labels, temperature=constant("contrast_temperature")),
        )
        if again is not None:
            count = len(again)
            said, shown = model.embed_by_teacher(again)
            found["distil"] = (
                constant("distil_weight"),
                confidence_weighted_distance(
                    logits[-count:],
                    said,
                    again["target"],
                    temperature=constant("confidence_temperature"),
                    is_mean=self._method.form == "code",
                ),
            )
            found["contrast"] = (
                constant("contrast_weight"),
                supervised_contrastive(
                    embeddings[-count:],
                    again["target"],
                    others=shown,
                    other_labels=again["target"],
                    temperature=constant("contrast_temperature"),
                ),
            )
        if weight := constant("turn_weight"):
            answers, turns = model.turn_logits(everything)
            found["turns"] = (weight, model.loss_of(answers, turns))
        return {name: mean_term(values, counted, side, weight) for name, (weight, values) in found.items() if weight}

    def _of_labels(
        self, losses: Tensor, task: Examples | None, again: Examples | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Cross-entropy: one mean over both in the paper's form, one each in the code's."""
        weight, cut = self._method.constant("replay_weight"), 0 if task is None else len(task)
        if again is None:
            return {"labels": (1.0, losses)}
        if task is None:
            return {"memory": (weight, losses)}
        if self._method.form == "paper" and weight == 1.0:
            return {"labels": (1.0, losses)}
        return {"labels": (1.0, losses[:cut]), "memory": (weight, losses[cut:])}


class Unlearned(Unified):
    """L_cl on the memory, and the untrained teacher on what is to be forgotten."""

    name = "uniclun_forget"
    needs: ClassVar[Needs] = Needs(forget=True)

    def loss(self, batch: Batch, model: TaughtClassifier, reference: Any) -> Terms:
        """Terms of L_cl, and ``forget``."""
        forget = batch.forget
        if forget is None:
            return {}
        # A batch of what is to be forgotten alone would pull the statistics away from what stays.
        model.moves_statistics = False
        self.move_teacher(model)
        with torch.no_grad():
            untrained = model.untrained_logits(forget)
        apart = kl_divergence(untrained, model.output_logits(forget))
        kept = self.terms(model, None, "forget", forget)
        stay, go = (self._method.gamma, 1 - self._method.gamma) if self._method.form == "paper" else (1.0, 1.0)
        weighed = {name: Term(term.sum, term.side, stay * term.coefficient) for name, term in kept.items()}
        return {**weighed, "forget": Term.of(apart, forget, "forget", go)}
