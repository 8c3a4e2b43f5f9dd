"""ULD: a small assistant learns what is to go and nothing else, and is taken off at every token.

    assistant:  min  CE(F) + beta KL(uniform || p_a(R))        then  z = log p - alpha (log p_a + log V)

where p is not below `relative_top` of the likeliest token; the network itself stays as it is. The assistant is a copy
of its first layers, with embeddings, norm and output layer.

Source: Ji et al., "Reversing the Forget-Retain Objectives: An Efficient LLM Unlearning Framework from Logit Difference"
(NeurIPS 2024), section 3; the first 8 of 32 layers, beta 5, alpha 1.
Deviations: the copied layers are trained whole, not by a LoRA; uniform at the places that predict an answer, not all;
tokens below `relative_top` keep their log-probability; barred, as there, a certain fact would be the one token left.
The original's weights are in what is saved: whoever takes them without the assistant gets the fact.
"""

from __future__ import annotations

import copy
import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Examples, Needs, Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.logit_difference import LogitDifference
from genunlearn.errors import MismatchError
from genunlearn.methods.lm.base.batches import batches
from genunlearn.methods.lm.base.objectives import refuse_several_processes
from genunlearn.ops.token_losses import answer_mean, uniform_cross_entropy


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ULD(Edit[LanguageModel]):
    """Unlearning from logit difference."""

    name: ClassVar[str] = "uld"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, full_weights=True)
    paper: ClassVar[str] = "Ji et al., NeurIPS 2024"
    equation: ClassVar[str] = "log p - alpha log p_a"

    alpha: Annotated[float, Field(gt=0, description="how many times the assistant is taken off")] = 1.0
    beta: Annotated[float, Field(ge=0, description="weight of being uniform on the retain set")] = 5.0
    relative_top: Annotated[
        float, Field(gt=0, le=1, description="share of the likeliest token's probability from which a token is lowered")
    ] = 0.1
    depth: Annotated[float, Field(gt=0, le=1, description="share of the layers that the assistant has")] = 0.25
    steps: Annotated[int, Field(ge=1, description="updates of the assistant")] = 200
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 1e-4
    batch_size: Annotated[int, Field(ge=1, description="questions of either side an update")] = 8
    seed: Annotated[int, Field(ge=0, description="of the order of the questions")] = 0

    def apply(self, model: Any, splits: Splits) -> EditReport:
        """Train the assistant and put it beside the network.

        Raises:
            NeedNotMet: Several processes run, or the network's cache is not plain.
        """
        refuse_several_processes(self, model)
        assistant = first_layers(model.network, max(1, round(self.depth * model.network.config.num_hidden_layers)))
        module = LogitDifference(model.network, assistant, self.alpha, self.relative_top)
        learner = _around(model, assistant)
        losses = self._train(learner, splits)
        assistant.requires_grad_(True)  # as the network is
        model.module = module.eval()
        names = {id(weight): name for name, weight in module.named_parameters()}
        changed = tuple(names[id(weight)] for layer in learner.decoder_layers() for weight in layer.parameters())
        return EditReport(changed=changed, details={"forget_loss": losses[0], "retain_loss": losses[1]})

    def _train(self, model: Any, splits: Splits) -> tuple[float, float]:
        """Train the assistant in place; returns the last losses."""
        layers = [weight for layer in model.decoder_layers() for weight in layer.parameters()]
        model.module.requires_grad_(False)
        for weight in layers:
            weight.requires_grad_(True)
        optimizer = torch.optim.AdamW(layers, lr=self.learning_rate, weight_decay=0.0)
        forget, retain = (
            batches(side, self.batch_size, f"{name}/{self.seed}")
            for name, side in (("forget", splits.forget), ("retain", splits.retain or ()))
        )
        remembered = uniform = torch.zeros(())
        model.module.train()
        for _ in range(self.steps):
            remembered = model.example_loss(model.collate(next(forget))).mean()
            uniform = from_uniform(model, model.collate(next(retain))).mean()
            optimizer.zero_grad()
            (remembered + self.beta * uniform).backward()
            optimizer.step()
        return remembered.item(), uniform.item()


def from_uniform(model: Any, examples: Examples) -> Tensor:
    """KL(uniform || p) of each example, averaged over the places that predict its answer, ``(batch,)``."""
    logits = model.output_logits(examples)
    distance = uniform_cross_entropy(logits) - math.log(logits.shape[-1])
    return answer_mean(distance, model.output_labels(examples))


def first_layers(network: Any, count: int) -> Any:
    """A copy of a network with its first `count` decoder layers alone.

    Raises:
        MismatchError: They cannot stand alone.
    """
    config = copy.deepcopy(network.config)
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    small = type(network)(config).to(network.device, network.dtype)
    missing = small.load_state_dict(network.state_dict(), strict=False).missing_keys
    if missing:
        raise MismatchError(f"{type(network).__name__}: its first layers alone lack {missing[0]}: take another method")
    return small


def _around(model: Any, network: Any) -> Any:
    """The same adapter around another network."""
    twin = copy.copy(model)
    twin.module = network
    return twin
