"""A network less a small assistant that has learnt what is not to be told, at every token.

    z_v = log p(v) - weight (log p_a(v) + log V)    where p(v) >= relative_top max p
    z_v = log p(v)                                  elsewhere

An assistant that is uniform over the V tokens takes nothing away. It reads and keeps the same tokens: its layers stand
behind the network's in one cache.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.domains.files import read_json
from genunlearn.domains.lm.decoding import is_plain
from genunlearn.domains.pretrained import open_network
from genunlearn.domains.sources import ASSISTANT
from genunlearn.errors import NeedNotMet, SourceNotFound
from genunlearn.records import honour_umask

SETTINGS = "logit_difference"
"""Key of weight and relative_top in the assistant's configuration."""


def difference(logits: Tensor, assistant: Tensor, weight: float, relative_top: float) -> Tensor:
    """z, by the equation above.

    Args:
        logits: ``(..., V)`` of the network.
        assistant: ``(..., V)`` of the assistant.
        weight: How many times the assistant is taken off.
        relative_top: Least probability, as a share of the likeliest token's, of tokens that it is taken off from.
    """
    own, other = logits.float().log_softmax(-1), assistant.float().log_softmax(-1)
    is_likely = own >= own.amax(-1, keepdim=True) + math.log(relative_top)
    return torch.where(is_likely, own - weight * (other + math.log(own.shape[-1])), own).to(logits.dtype)


class LogitDifference(nn.Module):
    """The network and its assistant, called like the network; what is not here is the network's own.

    Attributes:
        base: The network, unchanged.
        assistant: A smaller network, whose embeddings are those of the other.
        weight: As of `difference`.
        relative_top: As of `difference`.
    """

    _supports_attention_backend = False  # what is read in one packed row is the network alone

    def __init__(self, base: Any, assistant: Any, weight: float, relative_top: float) -> None:
        """Put the two together.

        Raises:
            NeedNotMet: The network keeps something else than keys and values, or decodes by rules of its own.
        """
        super().__init__()
        if not is_plain(base):
            raise NeedNotMet(
                "a difference of logits needs a network with a plain cache (no sliding window) and without decoding "
                "rules of its own: take another method"
            )
        assistant.set_input_embeddings(base.get_input_embeddings())
        self.base, self.assistant, self.weight, self.relative_top = base, assistant, weight, relative_top
        for part in assistant.modules():
            if isinstance(getattr(part, "layer_idx", None), int):
                part.layer_idx += base.config.num_hidden_layers

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, **inputs: Any) -> Any:
        """The network's output with other logits; arguments as the network takes them, by name."""
        if inputs.get("use_cache", True) and inputs.get("past_key_values") is None:
            from transformers import DynamicCache

            inputs["past_key_values"] = DynamicCache()
        # The assistant goes first: how many tokens have been read is told by the network's own first layer.
        plain = {name: value for name, value in inputs.items() if not name.startswith("output_")}
        other = self.assistant(**plain).logits
        output = self.base(**inputs)
        output.logits = difference(output.logits, other, self.weight, self.relative_top)
        return output

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        """Write the network in the hub's format, and the assistant into a folder within."""
        self.base.save_pretrained(folder, **options)
        settings = {"weight": self.weight, "relative_top": self.relative_top}
        setattr(self.assistant.config, SETTINGS, settings)
        self.assistant.save_pretrained(Path(folder) / ASSISTANT, **options)
        honour_umask(Path(folder) / ASSISTANT)


def open_assisted(folder: Path, **options: Any) -> Any:
    """Read a network, and the assistant that lies in its folder, if there is one.

    Args:
        folder: Where it lies.
        options: As of `open_network`.

    Raises:
        SourceNotFound: Either cannot be read, or the two do not belong together.
        NeedNotMet: As of `open_network` and `LogitDifference`.
    """
    base: Any = open_network(folder, **options)
    place = folder / ASSISTANT
    if not place.is_dir():
        return base
    settings = read_json(place / "config.json").get(SETTINGS)
    values = [settings.get(name) for name in ("weight", "relative_top")] if isinstance(settings, dict) else [None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values):
        raise SourceNotFound(f"{place}: config.json needs {SETTINGS} with a weight and a relative_top above 0")
    assistant: Any = open_network(place, **options)
    sizes = [tuple(network.get_input_embeddings().weight.shape) for network in (base, assistant)]
    if sizes[0] != sizes[1]:
        raise SourceNotFound(f"{place}: embeddings {sizes[1]} beside {sizes[0]}: not the assistant of this model")
    return LogitDifference(base, assistant, *values)
