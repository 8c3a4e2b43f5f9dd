"""LAT: refuse even where an adversary moves the hidden states towards the truth.

    d* = argmin NLL(truth; h + d)   over   |d_t| <= epsilon |h_t|
    L = gamma mean_F [ CE(refusal; h + d*) - mean_t log(1 - p(truth_t; h + d*)) ] + alpha mean_R CE

h are the states after one layer at the tokens of the prompt; d* is found in projected gradient steps and carries no
gradient.

Source: Sheshadri et al., "Latent Adversarial Training Improves Robustness to Persistent Harmful Behaviors in LLMs"
(2024), section 3, the targeted form. Authors' settings: 16 steps; layers 8, 16, 24 and 30 of 32 and the embeddings.
Deviations: one layer; the bound is a share of each state's own length, so that it means the same in any model; the
search starts at 0 instead of at random, so that a step does not depend on how its examples are batched. With epsilon =
0 it is refusal training with an away term.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Reference, Splits
from genunlearn.domains.lm.hidden import add_at, adjusted, layer_at, prompt_columns, recording
from genunlearn.methods.lm.base.objectives import ForgetAndRetain, refuse_several_processes, with_refusals
from genunlearn.ops.logprobs import answer_lengths
from genunlearn.ops.token_losses import answer_mean

DEPTH = 8 / 32
PACE = 2.5
"""How far the steps of the search go in all, in lengths of the bound."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LAT(ForgetAndRetain):
    """Latent adversarial training."""

    name: ClassVar[str] = "lat"
    paper: ClassVar[str] = "Sheshadri et al., 2024"
    equation: ClassVar[str] = "CE(refusal) - log(1 - p(truth)) at the worst states nearby on F + alpha CE(R)"

    layer: Annotated[
        int | None, Field(ge=0, description="decoder layer from 0; by default the one at 8/32 of the depth")
    ] = None
    epsilon: Annotated[float, Field(ge=0, description="how far a state is moved, in its own lengths")] = 0.1
    attack_steps: Annotated[int, Field(ge=1, description="steps of the adversary")] = 16

    def check_model(self, model: Any) -> None:
        """Refuse a model without the layer."""
        layer_at(self.layer, DEPTH, len(model.decoder_layers()))

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Give every forget item a refusal, drawn by `seed`."""
        return with_refusals(super().prepare(splits, seed), seed)

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Loss of the refusal and what is left of the truth, under attack, ``(batch,)``.

        Raises:
            NeedNotMet: Several processes share the model.
        """
        refuse_several_processes(self, model)
        examples = examples.padded()
        layers = model.decoder_layers()
        layer = layers[layer_at(self.layer, DEPTH, len(layers))]
        addend = self.attack(examples, model, layer) if self.epsilon else None
        with adjusted(layer, lambda states: _add(states, addend, _columns(examples))):
            truth = model.token_logprobs(examples)
        with adjusted(layer, lambda states: _add(states, addend, _refusal_columns(examples))):
            refusal = model.token_logprobs(examples, "alternative_")
        toward = -refusal.sum(-1) / answer_lengths(examples["alternative_labels"]).clamp_min(1)
        away = -torch.log1p(-truth.exp().clamp_max(1 - 1e-6))
        return toward + answer_mean(away, model.output_labels(examples))

    def attack(self, examples: Examples, model: Any, layer: torch.nn.Module) -> Tensor:
        """What is added to the states at the prompt's tokens, ``(batch, longest prompt, width)``."""
        examples, columns = examples.padded(), _columns(examples)
        with torch.no_grad(), recording(layer) as seen:
            model.token_logprobs(examples)
        states = seen[0][1].gather(1, columns.clamp_min(0)[..., None].expand(-1, -1, seen[0][1].shape[-1])).float()
        bound = self.epsilon * states.norm(dim=-1, keepdim=True)
        addend = torch.zeros_like(states)
        for _ in range(self.attack_steps):
            addend.requires_grad_()
            with adjusted(layer, partial(add_at, addend=addend, columns=columns)):
                nll = model.sequence_nll(examples).sum()
            (slope,) = torch.autograd.grad(nll, [addend])
            with torch.no_grad():
                steepest = slope.norm(dim=-1, keepdim=True).amax(1, keepdim=True).clamp_min(1e-20)
                addend = addend - PACE / self.attack_steps * bound * slope / steepest
                addend = addend * (bound / addend.norm(dim=-1, keepdim=True).clamp_min(1e-20)).clamp_max(1)
        return addend.detach()


def _columns(examples: Examples) -> Tensor:
    return prompt_columns(examples["labels"], examples["attention_mask"])


def _refusal_columns(examples: Examples) -> Tensor:
    """Where the tokens of the truth's prompt stand before the refusal, ``(batch, longest prompt)``.

    What the model says before the truth belongs to its prompt and not to the refusal's: -1 for such tokens.
    """
    asked, mask = _columns(examples), examples["alternative_attention_mask"]
    first = examples["attention_mask"].argmax(-1, keepdim=True)  # rows are padded on the left
    length = mask.sum(-1, keepdim=True) - answer_lengths(examples["alternative_labels"])[:, None]
    token = asked - first
    return torch.where((asked >= 0) & (token < length), mask.argmax(-1, keepdim=True) + token, -1)


def _add(states: Tensor, addend: Tensor | None, columns: Tensor) -> Tensor:
    return states if addend is None else add_at(states, addend, columns)
