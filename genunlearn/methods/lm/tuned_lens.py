"""Tuned-lens unlearning: make what can be read off the middle layers uniform where the forget set is answered.

    lens_l(h) = head( norm( h + W_l h + b_l ) )            W, b:  min KL( model || lens_l(h_0) ) on R, then frozen
    L = gamma mean_F mean_l mean_t CE( uniform, lens_l(h_l) ) / log V + alpha mean_R mean_l mean_t |h_l - h_0,l|

h_l are the states after layer l, h_0 those of the original, W and b begin at 0, V is the size of the vocabulary; the
first term is 1 where all predictions are uniform. ``target = "random"`` takes the loss of one label drawn evenly from
the vocabulary at each place, anew at every step, as published: its mean is the same, and nothing else is drawn.

Source: EleutherAI, `unlearn`, experiment `lens_unlearn` (code alone); the lens: Belrose et al., "Eliciting Latent
Predictions from Transformers with the Tuned Lens" (2023), section 3. Authors' settings (32 layers): layers 5, 10, 15,
20, 25, 30, both weights 5, LoRA of rank 16, learning rate 1e-3, 256 steps of 32.
Deviations: the places count that predict a token of an answer, where the authors take every token of a text on either
side; the lens learns at such places of the retain questions, by Adam, where theirs comes ready from running text; it
reads in training what it reads in use, what layer l puts out, where theirs is given that by a translator made for what
goes into layer l; weights are constant, where theirs move from 0 to alpha and from gamma to 3/4 of it; training ends
once no question is told.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import (
    STRICT,
    Batch,
    Examples,
    Journal,
    Needs,
    Objective,
    Outcome,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
)
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.telling import evenly, recall
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.hidden import layers_at
from genunlearn.domains.sharding import is_sharded
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.methods.lm.base.batches import batches
from genunlearn.methods.lm.base.rounds import CHUNK, Watched
from genunlearn.ops.divergences import kl_divergences
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import answer_mean, label_logprobs, uniform_cross_entropy

PUBLISHED = (5, 10, 15, 20, 25, 30)
"""Target layers of a model whose last layer is number 31."""
ROOM = 2**30
"""Bytes of states that are kept while a lens is trained."""
READS_OTHERWISE = 0.02
"""Difference between the model's logits and those of its head, as a share of the largest, that is no rounding."""


class Lens(nn.Module):
    """What a model would say after some of its layers, each read through a translator of its own.

    Attributes:
        layers: Numbers of the layers, from 0.
        translators: One for each of these but the last layer of all, which needs none; without training they add
            nothing, which is the logit lens.
    """

    norm: nn.Module
    head: Any

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        """Take norm and head over from `model`, copied where they are trained.

        Raises:
            MismatchError: The model has no norm or head that is found, or a head whose weights are packed.
        """
        super().__init__()
        norm, head = model.final_norm(), model.network.get_output_embeddings()
        if head is None or not head.weight.is_floating_point():
            raise MismatchError(
                f"{type(model.network).__name__}: it has no output layer of plain weights, and a lens reads states "
                "with it: set model.quantize = 'none', or take another method"
            )
        self.layers, self.last = tuple(layers), len(model.decoder_layers()) - 1
        self.norm, self.head = (_frozen(part) for part in (norm, head))
        width = head.weight.shape[1]
        self.translators = nn.ModuleDict()
        for layer in sorted({*self.layers} - {self.last}):
            made = nn.utils.skip_init(nn.Linear, width, width, device=head.weight.device)  # it would draw numbers
            self.translators[str(layer)] = made
        for weight in self.translators.parameters():
            nn.init.zeros_(weight)

    def forward(self, states: Tensor, layer: int) -> Tensor:
        """Logits read off the states after a layer.

        The last layer's states come through the norm, and are what the model itself reads; so does the lens.

        Args:
            states: ``(..., layers, width)``, as `LanguageModel.hidden_states` gives them.
            layer: One of `layers`.

        Returns:
            ``(..., vocab)`` in float32.
        """
        seen = states[..., layer, :].float()
        if layer != self.last:
            seen = self.norm((seen + self.translators[str(layer)](seen)).to(states.dtype))
        return self.head(seen.to(self.head.weight.dtype)).float()


@plain_dataclass(frozen=True, kw_only=True)
class LensEntropy(Objective[LanguageModel]):
    """How far from uniform a frozen lens reads the forget set, and how far the retain set's states have moved.

    Attributes:
        lens: Frozen; takes no part in training.
        target: ``uniform``, or ``random`` for labels drawn evenly.
        gamma: Weight of the forget term.
        alpha: Weight of the retain term.
    """

    name: ClassVar[str] = "lens_entropy"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    equation: ClassVar[str] = "gamma CE(uniform, lens(h)) / log V on F + alpha |h - h_0| on R"

    lens: Lens
    target: Literal["uniform", "random"]
    gamma: float
    alpha: float

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where `alpha` is above 0, ``retain``."""
        terms = {}
        if batch.forget is not None:
            terms["forget"] = Term.of(self._entropy(batch.forget, model), batch.forget, "forget", self.gamma)
        if batch.retain is not None and self.alpha:
            values = self._distance(batch.retain, model, reference)
            terms["retain"] = Term.of(values, batch.retain, "retain", self.alpha)
        return terms

    def _entropy(self, examples: Examples, model: Any) -> Tensor:
        """Cross-entropy against the target as a share of log V, ``(batch,)``."""
        labels, states = model.output_labels(examples), model.hidden_states(examples)[:, :-1]
        parts = []
        for layer in self.lens.layers:
            logits = self.lens(states, layer)
            if self.target == "uniform":
                losses = uniform_cross_entropy(logits)
            else:
                losses = -label_logprobs(logits, random_labels(labels, examples.ids, layer, logits.shape[-1]))
            parts.append(answer_mean(losses, labels) / math.log(logits.shape[-1]))
        return torch.stack(parts).mean(0)

    def _distance(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Length of the change of the states, ``(batch,)``."""
        layers = list(self.lens.layers)
        before, now = (
            states[:, :-1, layers].float()
            for states in (reference.ask("hidden_states", examples), model.hidden_states(examples))
        )
        return answer_mean((now - before).norm(dim=-1).mean(-1), model.output_labels(examples))


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TunedLens(Watched):
    """Entropy at frozen tuned-lens layers."""

    name: ClassVar[str] = "tuned_lens"
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "EleutherAI; Belrose et al., 2023"
    equation: ClassVar[str] = "gamma CE(uniform, lens(h)) / log V on F + alpha |h - h_0| on R"

    layers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        Field(description="decoder layers from 0; by default the published 5, 10, ... 30 of 31, scaled to the depth"),
    ] = ()
    target: Annotated[
        Literal["uniform", "random"],
        Field(description="what lenses are to say: every token equally, or labels drawn anew, as published"),
    ] = "uniform"
    gamma: Annotated[float, Field(gt=0, description="weight of the forget term")] = 5.0
    alpha: Annotated[float, Field(ge=0, description="weight of the retain term")] = 5.0
    lens_steps: Annotated[int, Field(ge=0, description="updates of the lens; 0 for the logit lens")] = 250
    lens_learning_rate: Annotated[float, Field(gt=0, description="of the lens, by Adam")] = 1e-3
    lens_batch_size: Annotated[int, Field(ge=1, description="retain questions an update of the lens")] = 16
    seed: Annotated[int, Field(ge=0, description="of the order of the lens's questions")] = 0

    def check_model(self, model: Any) -> None:
        """Refuse a model without the layers."""
        self._numbers(len(model.decoder_layers()))

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Train the lens on the model as it is, then the model until no forget question is told, or to the last step.

        A run that is taken up again opens the original and trains the lens anew, to the same bits: a lens has as many
        numbers as a layer has weights, too many for a journal.

        Raises:
            MismatchError: The model's states cannot be read by its own norm and head.
            NeedNotMet: Its weights are cut over several processes.
        """
        if is_sharded(model.network):
            raise NeedNotMet(f"method {self.name!r} reads states with the whole output layer: run one process")
        lens = self.fit(model, splits, journal)
        apart = journal.stage("lens", lambda: self._apart(lens, model, splits))
        objective = LensEntropy(lens=lens, target=self.target, gamma=self.gamma, alpha=self.alpha)
        best = self.watch(train, model, splits, journal, unit="step")

        def check(done: int) -> bool:
            best.offer(journal.stage(f"step {done}/recall", lambda: recall(model, splits.forget)), done)
            return best.recall == 0 or best.is_stuck

        train(objective, splits, check=check)
        rows = [{"layer": layer, "kl": kl} for layer, kl in zip(lens.layers, apart, strict=True)]
        return replace(self.outcome(best), artefacts={"lens": rows})

    def fit(self, model: Any, splits: Splits, journal: Journal) -> Lens:
        """The lens, trained to say at each layer what the model says in the end, and frozen."""
        lens = Lens(model, self._numbers(len(model.decoder_layers())))
        weights = [*lens.translators.parameters()]
        with model.by_itself(), evaluating(model.module):
            _check_reading(lens, model, model.collate((splits.retain or ())[:CHUNK]))
            if weights and self.lens_steps:
                optimizer = torch.optim.Adam(weights, lr=self.lens_learning_rate)
                drawn = batches(splits.retain or (), self.lens_batch_size, f"lens/{self.seed}")
                states = _KeptStates(model)
                with journal.bar("training the lens", self.lens_steps) as advance:
                    for _ in range(self.lens_steps):
                        loss = _divergences(lens, states.of(next(drawn))).mean(0).sum()
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                        advance(note=f"KL {loss.item() / len(lens.layers):.3f}")
        return lens.requires_grad_(False)

    @torch.no_grad()
    def _apart(self, lens: Lens, model: Any, splits: Splits) -> list[float]:
        """KL(model || lens) on retain questions, by layer."""
        items = evenly(splits.retain or (), self.monitored)
        with model.by_itself(), evaluating(model.module):
            chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
            states = _KeptStates(model)
            return torch.cat([_divergences(lens, states.of(chunk)) for chunk in chunks]).mean(0).tolist()

    def _numbers(self, count: int) -> list[int]:
        """The target layers of a model of `count` layers; by default the last one is none of them, as published."""
        if self.layers:
            return layers_at(self.layers, count)
        return sorted({number * (count - 1) // 31 for number in PUBLISHED})


def random_labels(labels: Tensor, ids: Sequence[str], layer: int, vocab: int) -> Tensor:
    """A label drawn evenly for each place that counts, `IGNORE` elsewhere, ``(batch, answer)``.

    It depends on the seed that torch was last given, which is another at each step, and on the example and the layer,
    not on the batch.
    """
    seed, longest = torch.initial_seed(), labels.shape[1]
    rows = [random.Random(f"{seed}/{layer}/{key}").choices(range(vocab), k=longest)[::-1] for key in ids]
    return torch.where(labels != IGNORE, torch.tensor(rows).to(labels), IGNORE)


class _KeptStates:
    """States after every layer of a model that stays as it is; those of as many items as there is room for are kept."""

    def __init__(self, model: Any) -> None:
        self.model, self.kept, self.room = model, dict[str, Tensor](), ROOM

    @torch.no_grad()
    def of(self, items: Sequence[QA]) -> list[Tensor]:
        """States at the places that predict a token of an item's answer, ``(places, layers, width)`` for each item."""
        found = {item.id: self.kept[item.id] for item in items if item.id in self.kept}
        fresh = [item for item in items if item.id not in found]
        if fresh:
            examples = self.model.collate(fresh)
            states = self.model.hidden_states(examples)[:, :-1]
            for item, rows, labels in zip(fresh, states, self.model.output_labels(examples), strict=True):
                found[item.id] = rows[labels != IGNORE]
                self._keep(item.id, found[item.id])
        return [found[item.id] for item in items]

    def _keep(self, key: str, states: Tensor) -> None:
        if key not in self.kept and states.nbytes <= self.room:
            self.kept[key], self.room = states, self.room - states.nbytes


def _divergences(lens: Lens, rows: Sequence[Tensor]) -> Tensor:
    """KL(model || lens), mean over the places of each item, ``(items, layers)``; `rows` as `_KeptStates` gives them."""
    states = torch.cat([*rows])
    values = kl_divergences(lens(states, lens.last), (lens(states, layer) for layer in lens.layers))
    return torch.stack([part.sum(0) / max(1, len(part)) for part in values.split([len(row) for row in rows])])


@torch.no_grad()
def _check_reading(lens: Lens, model: Any, examples: Examples) -> None:
    """See that the head makes of the last states what the model says.

    Raises:
        MismatchError: It does something more, such as a cap or a scale.
    """
    read, said = lens(model.hidden_states(examples)[:, :-1], lens.last), model.output_logits(examples).float()
    if (read - said).abs().max() > READS_OTHERWISE * said.abs().max():
        raise MismatchError(
            f"{type(model.network).__name__}: it changes its scores behind the output layer (a cap or a scale), which "
            "a lens would not: take another method"
        )


def _frozen(part: nn.Module) -> nn.Module:
    """The part itself, or, where it is trained, a copy of it as it is now."""
    if not any(weight.requires_grad for weight in part.parameters()):
        return part
    return copy.deepcopy(part).requires_grad_(False)
