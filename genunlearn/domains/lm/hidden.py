"""What goes on inside a language model: its decoder layers, their outputs, and the layers' writing projections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.contracts import Examples
from genunlearn.domains.sharding import is_sharded
from genunlearn.errors import MismatchError
from genunlearn.ops.logprobs import IGNORE, last_positions

FINAL_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm")
"""Names of the norm behind the last decoder layer, which stands outside the list of layers."""


class HiddenStates:
    """The part of a language model's adapter that looks inside."""

    module: nn.Module

    def decoder_layers(self: Any) -> nn.ModuleList:
        """The decoder layers in their order.

        Raises:
            MismatchError: The network has no list of as many layers as its configuration says.
        """
        if (found := _decoder_layers(self.network)) is None:
            count = self.network.config.num_hidden_layers
            raise MismatchError(f"no list of {count} decoder layers with an mlp in this model: take another method")
        return found

    def final_norm(self: Any) -> nn.Module:
        """What normalises the last layer's output before the vocabulary's scores are read off it.

        Raises:
            MismatchError: The network has none under a name that is known.
        """
        for name, part in self.network.named_modules():
            *path, last = name.split(".")
            if last in FINAL_NORMS and not any(step.isdigit() for step in path):
                return part
        raise MismatchError(f"no norm behind the last layer ({', '.join(FINAL_NORMS)}) in this model")

    def hidden_states(self: Any, examples: Examples) -> Tensor:
        """What every decoder layer puts out at the places of `logits`; the last layer's is normalised.

        Returns:
            ``(batch, longest answer + 1, layers, width)``: an answer's n-th token is predicted at place n and read
            at place n + 1.
        """
        keep, inputs = self._reading(examples)
        output = self.module(**inputs, output_hidden_states=True)
        states = torch.stack([state[:, -keep:] for state in output.hidden_states[1:]], dim=2)
        if isinstance(self.module, nn.parallel.DistributedDataParallel):
            states = states + 0 * output.logits.sum()  # processes wait for a gradient of every trained weight
        return states

    def layer_states(self: Any, examples: Examples, layer: int | None, depth: float) -> Tensor:
        """What one decoder layer puts out at the places of `logits`; those above it are left out where they can be.

        Args:
            examples: Questions with their answers.
            layer: Its number, from 0; None for the one at the share `depth` of all.
            depth: See `layer`.

        Returns:
            ``(batch, longest answer + 1, width)``, see `hidden_states`.

        Raises:
            MismatchError: There is no such layer.
        """
        count = self.network.config.num_hidden_layers
        number, layers = layer_at(layer, depth, count), _decoder_layers(self.network)
        if layers is None or number == count - 1 or not may_be_left(self.module, self.network):
            return self.hidden_states(examples)[:, :, number]
        keep, inputs = self._reading(examples)
        with leaving_after(layers[number]) as states:
            self.module(**inputs)
        return states[0][:, -keep:]

    def _reading(self: Any, examples: Examples) -> tuple[int, dict[str, Any]]:
        """How many of the last places count, and what the network is called with, few logits among it."""
        labels, mask = examples["labels"], examples["attention_mask"]
        self.meter.forwards += 1
        self.meter.tokens_scored += int(mask.sum())
        return int((labels != IGNORE).any(0).sum()) + 1, {
            "input_ids": examples["input_ids"],
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp_min(0),
            "use_cache": False,
            "logits_to_keep": last_positions(1, mask.device),
        }


def _decoder_layers(network: Any) -> nn.ModuleList | None:
    count = network.config.num_hidden_layers
    for part in network.modules():
        if isinstance(part, nn.ModuleList) and len(part) == count and hasattr(part[0], "mlp"):
            return part
    return None


def may_be_left(module: nn.Module, network: nn.Module) -> bool:
    """Whether a forward pass may end halfway: no other process waits for its end, and no layer runs a second time."""
    if isinstance(module, nn.parallel.DistributedDataParallel) or is_sharded(network):
        return False
    return not (network.training and any(getattr(part, "gradient_checkpointing", False) for part in network.modules()))


def layer_at(layer: int | None, depth: float, count: int) -> int:
    """The number of a decoder layer, from 0: `layer`, or the one at the share `depth` of `count` layers.

    Raises:
        MismatchError: There is no such layer.
    """
    return min(count - 1, int(depth * count)) if layer is None else _number(layer, count, "layer")


def layers_at(layers: Iterable[int], count: int) -> list[int]:
    """The numbers of some decoder layers of `count`, from 0, in their order and each once.

    Raises:
        MismatchError: There is no such layer.
    """
    return sorted({_number(layer, count, "layers") for layer in layers})


def _number(layer: int, count: int, option: str) -> int:
    if layer >= count:
        raise MismatchError(f"method.{option} = {layer}: this model has the layers 0 to {count - 1}: take one of them")
    return layer


def down_projection(layer: nn.Module) -> nn.Linear:
    """The matrix with which a decoder layer's MLP writes: its last linear layer.

    Raises:
        MismatchError: The MLP has none, several (experts), or one whose weights are packed.
    """
    mlp: Any = getattr(layer, "mlp", None)
    linear = [part for part in mlp.modules() if isinstance(part, nn.Linear)] if mlp is not None else []
    writing = [part for part in linear if part.out_features == linear[-1].out_features]
    if len(writing) != 1 or not writing[0].weight.is_floating_point():
        raise MismatchError(
            f"{type(layer).__name__}: its MLP does not write with one plain linear layer (experts, packed weights or "
            "another kind of layer), and edits of facts change that one: take a method that trains"
        )
    return writing[0]


def subject_place(model: Any, question: str, subject: str) -> int:
    """Where the last token of `subject` stands in the prompt that asks `question`.

    Where the question does not name it, this is the last place of the prompt.

    Raises:
        MismatchError: The tokenizer does not say which characters a token covers.
    """
    messages = [{"role": "user", "content": question}]
    text, ids = model.chat.prompt_text(messages), model.chat.prompt_ids(messages)
    if not getattr(model.tokenizer, "is_fast", False):
        raise MismatchError("edits of facts need a fast tokenizer, which says which characters a token covers")
    spans = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    begin = text.rfind(subject)
    if begin < 0:
        return len(ids) - 1
    last = max(n for n, (start, _) in enumerate(spans) if start < begin + len(subject))
    return last + len(ids) - len(spans)


@contextmanager
def recording(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within the block, the input and the output of every call of `module`, ``(batch, tokens, width)`` each."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, given: tuple, output: Any) -> None:
        seen.append((given[0].detach(), (output[0] if isinstance(output, tuple) else output).detach()))

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


class _Enough(Exception):
    """A forward pass has come as far as anybody asks."""


@contextmanager
def leaving_after(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block a forward pass ends behind `layer`; its output is kept, ``(batch, tokens, width)``."""
    kept: list[Tensor] = []

    def leave(_: nn.Module, __: tuple, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)
        raise _Enough

    handle = layer.register_forward_hook(leave)
    try:
        with suppress(_Enough):
            yield kept
    finally:
        handle.remove()


@contextmanager
def adjusted(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block, `module` puts out ``change(output)``, both ``(batch, tokens, width)``."""

    def replace(_: nn.Module, given: tuple, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def add_at(states: Tensor, addend: Tensor, columns: Tensor) -> Tensor:
    """States with an addend at some places of each row.

    Args:
        states: ``(batch, tokens, width)``.
        addend: ``(batch, n, width)``, may take gradients.
        columns: ``(batch, n)``, the place of each; what is below 0 is left out.
    """
    counted = (columns >= 0)[..., None].to(addend.dtype)
    index = columns.clamp_min(0)[..., None].expand_as(addend)
    return states + torch.zeros_like(states).scatter_add(1, index, (addend * counted).to(states.dtype))


def prompt_columns(labels: Tensor, mask: Tensor) -> Tensor:
    """Where the tokens of each prompt stand, the last one last, -1 in front of a shorter one, ``(batch, longest)``.

    Args:
        labels: ``(batch, tokens)``, padded on the left.
        mask: ``(batch, tokens)`` attention mask.
    """
    answer = (labels != IGNORE).sum(-1, keepdim=True)
    length = mask.sum(-1, keepdim=True) - answer
    count = int(length.max())
    back = torch.arange(count, 0, -1, device=labels.device)[None]  # 1 is the last token of the prompt
    return torch.where(back <= length, labels.shape[1] - answer - back, -1)
