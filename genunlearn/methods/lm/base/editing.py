"""What edits of facts share: the other answer, the shift of a state that brings it about, and the keys of a layer."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT, Edit, EditReport, Examples, Needs, Splits
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.hidden import (
    add_at,
    adjusted,
    down_projection,
    leaving_after,
    may_be_left,
    recording,
    subject_place,
)
from genunlearn.methods.lm.base.rounds import CHUNK
from genunlearn.methods.lm.base.subjects import fact_of, writer
from genunlearn.ops.divergences import kl_divergence
from genunlearn.ops.evaluation_mode import evaluating

GUARDED = 16
"""Retain questions about the subject whose predictions the shift is to leave alone."""

MOST_KEPT = 256
"""Retain items whose keys a layer is to go on answering as before."""


@plain_dataclass(frozen=True)
class Placed:
    """Questions with the place of the subject's last token in each row.

    Attributes:
        examples: The collated questions.
        places: One place a row, padding counted.
    """

    examples: Examples
    places: list[int]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FactEdit(Edit[LanguageModel]):
    """One-shot edits that write another answer into MLPs, at the last token of the subject."""

    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, facts=True, full_weights=True)

    target: Annotated[
        str, Field(min_length=1, description="what is answered instead: refusal, substitute, or the answer itself")
    ] = "refusal"
    steps: Annotated[int, Field(ge=1, description="steps in search of the shift")] = 25
    learning_rate: Annotated[float, Field(gt=0, description="step size of the search, in lengths of the state")] = 0.1
    kl_weight: Annotated[float, Field(ge=0, description="weight of what else is said of the subject")] = 0.0625
    decay: Annotated[float, Field(ge=0, description="weight of the shift's length")] = 0.5
    clamp: Annotated[float, Field(gt=0, description="most length of the shift, in lengths of the state")] = 4.0

    def apply(self, model: Any, splits: Splits) -> EditReport:
        """Write another answer for each fact.

        Raises:
            DataError: A question belongs to no fact.
            MismatchError: The model's MLPs cannot be written to.
        """
        with evaluating(model.module):
            facts = {str(item.fact): fact_of(item, splits) for item in splits.forget}
            wanted = {key: self._target(model, fact) for key, fact in facts.items()}
            changed = self.write(model, splits, facts, wanted)
        names = {id(weight): name for name, weight in model.module.named_parameters()}
        return EditReport(changed=tuple(names[id(weight)] for weight in changed), details={"targets": wanted})

    def check_model(self, model: Any) -> None:
        """Refuse a model that has no such layers, or whose MLPs cannot be written to."""
        for layer in self.edited(model):
            down_projection(layer)

    @abc.abstractmethod
    def edited(self, model: Any) -> Sequence[nn.Module]:
        """The decoder layers that are written to, in their order.

        Raises:
            MismatchError: There is no such layer.
        """

    @abc.abstractmethod
    def write(self, model: Any, splits: Splits, facts: dict[str, Fact], wanted: dict[str, str]) -> Sequence[Tensor]:
        """Change weights so that each fact's questions are answered as wanted; returns the changed weights."""

    def _target(self, model: Any, fact: Fact) -> str:
        if self.target == "refusal":
            return REFUSALS[0]
        return f"{writer(model, 0).name_wrong(fact, 1)[0]}." if self.target == "substitute" else self.target

    def shift(self, model: Any, layer: nn.Module, splits: Splits, fact: Fact, answer: str) -> tuple[Tensor, Placed]:
        """The addend to the layer's output at the subject that makes `answer` likely, and where the subject stands.

        Minimises ``mean NLL(answer) + kl_weight KL(before || after) + decay |shift| / |state|^2``, where the
        divergence is on retain questions that name the subject.

        Returns:
            ``(width,)`` in float32, and the fact's questions with the wanted answer.
        """
        items = [
            replace(item, answer=answer, taught=None, opening="") for item in splits.forget if str(item.fact) == fact.id
        ]
        about = [item for item in splits.retain or () if fact.subject in item.question][:GUARDED]
        asked, guard = place(model, items, fact), place(model, about, fact) if about else None
        output = down_projection(layer)
        with torch.no_grad():
            length = states_at(model, layer, asked).norm(dim=-1).mean()
            before = None if guard is None else model.output_logits(guard.examples)
        shift = torch.zeros(output.out_features, device=model.device, requires_grad=True)
        optimizer = torch.optim.Adam([shift], lr=self.learning_rate * float(length) / len(shift) ** 0.5)
        for _ in range(self.steps):
            with adjusted(output, partial(_shifted, shift, asked)):
                loss = model.example_loss(asked.examples).mean()
            if guard is not None and before is not None and self.kl_weight:
                counted = model.output_labels(guard.examples) >= 0
                with adjusted(output, partial(_shifted, shift, guard)):
                    after = model.output_logits(guard.examples)
                loss = loss + self.kl_weight * kl_divergence(before, after, counted=counted).mean()
            loss = loss + self.decay * shift.norm() / length**2
            (shift.grad,) = torch.autograd.grad(loss, [shift])
            optimizer.step()
            with torch.no_grad():
                shift.mul_((self.clamp * length / shift.norm().clamp_min(1e-12)).clamp_max(1))
        return shift.detach(), asked


def place(model: Any, items: Sequence[QA], fact: Fact) -> Placed:
    """Collate questions and find the fact's subject in each."""
    examples = model.collate(items).padded()
    padding = (examples["attention_mask"] == 0).sum(-1).tolist()
    found = [subject_place(model, item.question, _name_in(item.question, fact)) for item in items]
    return Placed(examples, [pad + n for pad, n in zip(padding, found, strict=True)])


def _shifted(shift: Tensor, placed: Placed, states: Tensor) -> Tensor:
    columns = torch.tensor(placed.places, device=states.device)[:, None]
    return add_at(states, shift.expand(len(columns), 1, -1), columns)


def _name_in(question: str, fact: Fact) -> str:
    return next((name for name in (fact.subject, *fact.subject_aliases) if name in question), fact.subject)


def at_places(states: Tensor, places: Sequence[int]) -> Tensor:
    """The state of each row at its place, ``(batch, width)``."""
    return states[torch.arange(len(places)), torch.tensor(places)]


@torch.no_grad()
def keys_at(model: Any, layer: nn.Module, placed: Placed) -> Tensor:
    """What the layer's writing projection reads at the places, ``(batch, d)`` in float32."""
    read, _ = _seen(model, layer, down_projection(layer), placed.examples)
    return at_places(read, placed.places).float()


@torch.no_grad()
def states_at(model: Any, layer: nn.Module, placed: Placed) -> Tensor:
    """What the layer puts out at the places, ``(batch, width)`` in float32."""
    _, written = _seen(model, layer, layer, placed.examples)
    return at_places(written, placed.places).float()


@torch.no_grad()
def kept_keys(model: Any, layer: nn.Module, retain: Sequence[QA]) -> Tensor:
    """What the layer's writing projection reads over all tokens of the retain items, ``(tokens, d)`` in float32."""
    items, rows = list(retain)[:MOST_KEPT], []
    for start in range(0, len(items), CHUNK):
        examples = model.collate(items[start : start + CHUNK])
        read, _ = _seen(model, layer, down_projection(layer), examples)
        rows.append(read[examples["attention_mask"].bool()].float())
    return torch.cat(rows)


def _seen(model: Any, layer: nn.Module, part: nn.Module, examples: Examples) -> tuple[Tensor, Tensor]:
    """What a part of the layer reads and puts out; what lies above the layer is left out where it can be."""
    end = leaving_after(layer) if may_be_left(model.module, model.network) else nullcontext()
    with recording(part) as seen, end:
        model.logits(examples)
    return seen[0]


@torch.no_grad()
def add(weight: Tensor, change: Tensor) -> None:
    """Add a change ``(out, d)`` to a weight in place."""
    weight.add_(change.to(weight))
