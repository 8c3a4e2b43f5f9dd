"""D2DGN: a student distils what stays from a preserver, and what goes from a destroyer that knows nothing.

    response   L = alpha mean_R KL( P(e) || S(e) ) + (1 - alpha) mean_F KL( D(e) || S(e) )
    feature    L = alpha mean_R sum_l MSE( P_l(e), S_l(e) ) + (1 - alpha) mean_F sum_l MSE( D_l(e), S_l(e) )

P is the original, D an untrained network of its shape; e a node or a pair of nodes, answered by the softmax over
classes or by (no link, link); ``_l`` what the l-th message-passing layer says of a node, or the product of what it says
of the two of a pair. P, D and S see the graph without what is forgotten.

Source: Sinha, Mandal, Kankanhalli, "Distill to Delete: Unlearning in Graph Networks with Knowledge Distillation"
(arXiv 2309.16173). The paper's text was not at hand beyond its abstract; the losses are those of the third-party
implementation in OpenGU (arXiv 2501.02728), which draws the student's weights anew and has alpha 0.5.
Deviations: retain items are pairs without a link too, since a fresh student that only sees links answers "link" to
everything; the mean square of a layer is over its width, where OpenGU sums; OpenGU's third kind of destroyer, taught on
pairs without a link, is left out. With ``student = "original"`` and the response form this is bad teaching on graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Examples,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.extras import with_extras
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.methods.base import two_teachers
from genunlearn.ops.divergences import kl_divergence

ANSWER, LAYER = "teacher_logits", "teacher_layer_"
Knowledge = Literal["response", "feature"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Distillation(Objective[GraphModel]):
    """Both sides against what their teachers have answered, which travels with the items."""

    name: ClassVar[str] = "graph_distillation"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    needs: ClassVar[Needs] = Needs(retain=True)

    knowledge: Knowledge
    alpha: float

    def loss(self, batch: Batch, model: GraphModel, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""

        def apart(side: str, examples: Examples) -> Tensor:
            if self.knowledge == "response":
                return kl_divergence(examples[ANSWER], model.output_logits(examples))
            layers = layer_answers(model, examples)
            squares = [(layer - examples[f"{LAYER}{n}"]).square().mean(1) for n, layer in enumerate(layers)]
            return torch.stack(squares).sum(0)

        return two_teachers(batch, apart, {"forget": 1 - self.alpha, "retain": self.alpha})


@dataclass(config=STRICT, frozen=True, kw_only=True)
class D2DGN(Protocol[GraphModel]):
    """Distillation from a preserver and a destroyer."""

    name: ClassVar[str] = "d2dgn"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Sinha et al., arXiv 2309.16173"
    equation: ClassVar[str] = "alpha KL(P || S) on R + (1 - alpha) KL(D || S) on F"

    knowledge: Annotated[
        Knowledge, Field(description="what is distilled: answers, or what every layer says of nodes")
    ] = "response"
    student: Annotated[
        Literal["fresh", "original"], Field(description="whether the student's weights are drawn anew")
    ] = "fresh"
    alpha: Annotated[float, Field(ge=0, le=1, description="weight of the preserver; the destroyer has the rest")] = 0.5
    seed: Annotated[int, Field(ge=0, description="of the destroyer and of a fresh student")] = 0

    def run(self, train: Train, model: GraphModel, splits: Splits, journal: Journal) -> Outcome:
        """Ask both teachers once, then teach the student."""
        destroyer = model.fresh(2 * self.seed + 1)
        destroyer.module.eval()
        forget = self._taught(destroyer, splits.forget)
        retain = self._taught(model, splits.retain or ())
        if self.student == "fresh":
            model.reinitialise(2 * self.seed)
        train(Distillation(knowledge=self.knowledge, alpha=self.alpha), with_sides(splits, forget, retain))
        return Outcome(status="trained", reason=f"{self.knowledge} knowledge distilled into a student, {self.student}")

    def _taught(self, teacher: GraphModel, items: Sequence[Any]) -> list[Any]:
        if self.knowledge == "response":
            return with_extras(items, **{ANSWER: teacher.predict(items)})
        with teacher.inference(), torch.no_grad():
            layers = layer_answers(teacher, teacher.collate(items))
        return with_extras(items, **{f"{LAYER}{n}": layer.cpu() for n, layer in enumerate(layers)})


def layer_answers(model: GraphModel, examples: Examples) -> list[Tensor]:
    """What each layer says of each example: of a node ``(batch, width)``, of a pair the product ``(batch, 1)``."""
    layers = model.layer_outputs(examples)
    if model.task == "node":
        return [layer[:, 0] for layer in layers]
    return [(layer[:, 0] * layer[:, 1]).sum(1, keepdim=True) for layer in layers]
