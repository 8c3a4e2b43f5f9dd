"""Networks with one output vector for each example: what classifiers and regressors share.

The caller's module is trained in place and stays the caller's: nothing is wrapped, and convolutions only get their
weights laid out with the channels last, which is about twice as fast on a CPU.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from genunlearn.contracts import Examples, LabelledDomain
from genunlearn.domains.network.hub import encode_value, load_folder
from genunlearn.domains.network.layers import attend, default_layers, put_channels_last, reset_weights
from genunlearn.domains.pretrained import no_progress_bars
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import DataError, MismatchError, SourceNotFound
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.records import honour_umask

INPUT = "inputs."
WEIGHTS_NAME = "model.safetensors"


class LabelledItem(Protocol):
    """What is collated: `genunlearn.data.network.items.Item`, or anything of that shape."""

    @property
    def id(self) -> str:
        """Stable identifier."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Named inputs without a batch dimension."""

    @property
    def target(self) -> Tensor:
        """What is to be predicted."""

    @property
    def extras(self) -> Mapping[str, Tensor]:
        """Further tensors that travel with the batch."""


class NetworkDomain(LabelledDomain):
    """A network with one output vector for each example.

    Attributes:
        module: The network, perhaps wrapped for several processes.
        processor: The tokenizer or image processor that `encode` uses, where there is one.
        learns_statistics: Whether training moves BatchNorm's running statistics. Off by default: a forget batch of
            one class would pull them away from what the retain data needs. A re-initialised network must learn them.
        feature_layers: Names of the layers whose attention maps are compared; None chooses them, see
            `genunlearn.domains.network.layers.default_layers`.
    """

    offers = frozenset({"example_loss", "output_logits", "sample_loss", "features", "reinitialise"})
    has_labels = True

    def __init__(
        self,
        module: nn.Module,
        *,
        build: Callable[[], nn.Module] | None = None,
        processor: Any = None,
        learns_statistics: bool = False,
        feature_layers: Sequence[str] | None = None,
        padding: Mapping[str, int] | None = None,
        untrained_seed: int = 0,
    ) -> None:
        """Wrap a network.

        Args:
            module: Called with the tensor alone for items with the one input ``x``, with named tensors otherwise;
                returns ``(batch, outputs)`` or an object with such ``logits``.
            build: Makes an untrained network of the same architecture; needed only where some weights cannot be
                re-initialised by their own modules, see `fresh`.
            processor: Tokenizer or image processor.
            learns_statistics: See the class.
            feature_layers: See the class.
            padding: Padding value by input name for sequences of different lengths, by default 0.
            untrained_seed: Seed of the untrained network that `untrained_logits` asks.
        """
        self.module = module
        self.processor = processor
        self.learns_statistics = learns_statistics
        self.feature_layers = tuple(feature_layers) if feature_layers else None
        self._build = build
        self._padding = dict(padding or {})
        self._untrained_seed = untrained_seed
        self._untrained_twin: Any = None
        self._is_convolutional = any(isinstance(part, nn.Conv2d) for part in module.modules())
        if self._is_convolutional:
            put_channels_last(module)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of real inputs."""
        return next(self.module.parameters()).dtype

    @classmethod
    def load(cls, source: str, *, revision: str | None = None, dtype: str = "float32", device: str = "auto") -> Self:
        """Read an image or sequence classifier (or regressor) in the hub's format.

        Args:
            source: Folder or hub id.
            revision: Commit, tag or branch of a hub model.
            dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto``.
            device: ``auto``, ``cpu``, ``cuda`` or another torch device.

        Raises:
            SourceNotFound: The model is not there or not complete.
            MismatchError: It is a model of another kind.
        """
        module, processor = load_folder(resolve_folder(source, revision), dtype, is_regression=cls.name == "regression")
        place = PartialState().device if device == "auto" else torch.device(device)
        pad = getattr(processor, "pad_token_id", None)
        return cls(module.to(place).eval(), processor=processor, padding={"input_ids": pad or 0})

    # ---- data ----------------------------------------------------------------------------------------------

    def encode(self, value: Any) -> dict[str, Tensor]:
        """The named inputs that the processor makes of one text or image.

        Raises:
            MismatchError: The network came without a processor.
        """
        if self.processor is None:
            raise MismatchError("this network has no tokenizer or image processor: give tensors as inputs")
        return encode_value(self.processor, value)

    def collate(self, items: Sequence[LabelledItem]) -> Examples:
        """Stack items; sequences of different lengths are padded at their ends."""
        tensors = {f"{INPUT}{name}": self._stack(name, items) for name in items[0].inputs}
        tensors["target"] = torch.stack([item.target for item in items])
        tensors |= {name: torch.stack([item.extras[name] for item in items]) for name in items[0].extras}
        return Examples(tuple(item.id for item in items), torch.ones(len(items)), tensors).to(self.device)

    def _stack(self, name: str, items: Sequence[LabelledItem]) -> Tensor:
        rows = [item.inputs[name] for item in items]
        if rows[0].dim() == 1 and len({len(row) for row in rows}) > 1:
            return pad_sequence(rows, batch_first=True, padding_value=self._padding.get(name, 0))
        batch = torch.stack(rows)
        if batch.is_floating_point():
            batch = batch.to(self.dtype)
        if self._is_convolutional and batch.dim() == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch

    @abc.abstractmethod
    def check(self, items: Sequence[LabelledItem]) -> None:
        """Refuse items that this network cannot be trained on.

        Raises:
            DataError: A target does not fit the network's outputs, or an item is of another shape than the first.
            MismatchError: The network cannot be asked about the items.
        """

    @staticmethod
    def check_alike(items: Sequence[LabelledItem]) -> None:
        """Refuse items that cannot stand in one batch; sequences may differ in length.

        Raises:
            DataError: An item has other inputs than the first, or inputs or a target of another shape.
        """
        first = _kind(items[0])
        for item in items:
            if _kind(item) != first:
                raise DataError(
                    f"item {item.id!r} is {_kind(item)}, and item {items[0].id!r} is {first}: all must have the same "
                    "inputs and shapes"
                )

    # ---- forward -------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The training loss of outputs ``(batch, outputs)`` against targets, ``(batch,)``."""

    def output_logits(self, examples: Examples) -> Tensor:
        """The network's outputs, ``(batch, outputs)``.

        Raises:
            DataError: One example in a network whose BatchNorm is learning statistics.
        """
        self._settle_statistics(len(examples.weight))
        return _forward(self.module, examples.tensors)

    @override
    def example_loss(self, examples: Examples) -> Tensor:
        return self.loss_of(self.output_logits(examples), examples["target"])

    def output_labels(self, examples: Examples) -> Tensor:
        """The targets that `output_logits` are to give, ``(batch,)`` class numbers for a classifier."""
        return examples["target"]

    def sample_loss(self, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
        """The loss of one example as a function of the weights, for per-example gradients.

        Args:
            weights: The network's weights by name.
            tensors: Tensors of one example, without a batch dimension.
        """

        def call(*args: Tensor, **inputs: Tensor) -> Any:
            return functional_call(self.network, dict(weights), args, inputs)

        outputs = _forward(call, {name: tensor[None] for name, tensor in tensors.items()})
        return self.loss_of(outputs, tensors["target"][None])[0]

    def num_outputs(self, item: LabelledItem) -> int:
        """How many numbers the network answers with: the classes of a classifier.

        Raises:
            MismatchError: It does not take the item, or does not answer with a vector.
        """
        try:
            return self.predict([item]).shape[1]
        except MismatchError:
            raise
        except Exception as error:  # whatever the caller's own code raises
            shapes = ", ".join(f"{name!r} {tuple(tensor.shape)}" for name, tensor in item.inputs.items())
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MismatchError(f"the network cannot be asked about item {item.id!r} ({shapes}): {reason}") from error

    def features(self, examples: Examples) -> tuple[Tensor, list[Tensor]]:
        """Outputs and, for each feature layer, its attention map ``(batch, positions)``."""
        if self.feature_layers is None:
            with self.inference():
                self.feature_layers = default_layers(self.network, lambda: self.output_logits(examples))
        return attend(self.network, self.feature_layers, lambda: self.output_logits(examples))

    def predict(self, items: Sequence[LabelledItem], batch_size: int = 128) -> Tensor:
        """Outputs of all items in evaluation mode, ``(items, outputs)`` in float32 on the CPU.

        Larger batches are no faster: on a CPU the activations of more pictures than these leave its cache.
        """
        with self.inference(), torch.no_grad():
            batches = (self.collate(items[i : i + batch_size]) for i in range(0, len(items), batch_size))
            return torch.cat([self.output_logits(examples).float().cpu() for examples in batches])

    def inference(self) -> AbstractContextManager[None]:
        """Evaluation mode within the block."""
        return evaluating(self.module)

    def _settle_statistics(self, batch: int) -> None:
        if not self.module.training:
            return
        norms = {name: part for name, part in self.network.named_modules() if isinstance(part, _BatchNorm)}
        if norms and self.learns_statistics and batch < 2:
            raise DataError(
                "a batch of 1 example in a network whose BatchNorm learns its statistics: raise train.batch_size "
                "to at least 2, or keep the statistics (learns_statistics=False)"
            )
        for name, norm in norms.items():
            norm.train(self.learns_statistics and not self._is_frozen(name, norm))

    def _is_frozen(self, name: str, part: nn.Module) -> bool:
        """Whether a part has weights of its own, all of them frozen; then its statistics stay as well."""
        weights = [f"{name}.{key}" if name else key for key, _ in part.named_parameters(recurse=False)]
        return bool(weights) and self.frozen.issuperset(weights)

    # ---- untrained networks of the same architecture --------------------------------------------------------

    def fresh(self, seed: int) -> Self:
        """A second network of the same architecture with weights drawn anew by `seed`, but for those that are frozen.

        Raises:
            MismatchError: Some weights belong to a module that cannot re-initialise them, and no `build` was given; or
                the network is under LoRA.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            module = self._untrained().to(self.device, self.dtype).requires_grad_(True)
        self._keep_frozen(module)
        other = copy.copy(self)
        other.module, other.learns_statistics, other._untrained_twin = module, True, None
        if self._is_convolutional:
            put_channels_last(module)
        return other

    def reinitialise(self, seed: int) -> None:
        """Draw this network's own weights anew by `seed`, as `fresh` does; BatchNorm learns from now on."""
        self.network.load_state_dict(self.fresh(seed).network.state_dict())
        self.learns_statistics = True

    def untrained_logits(self, examples: Examples) -> Tensor:
        """Outputs of an untrained network of this architecture: the incompetent teacher, ``(batch, outputs)``."""
        untrained = self._untrained_twin or self.fresh(self._untrained_seed)
        if self._untrained_twin is None:
            untrained.module.requires_grad_(False).eval()
            self._untrained_twin = untrained
        return untrained.output_logits(examples)

    @torch.no_grad()
    def _keep_frozen(self, module: nn.Module) -> None:
        """Give `module`, of the same architecture, this network's frozen weights and their statistics."""
        for name, part in module.named_modules() if self.frozen else ():
            own = self.network.get_submodule(name)
            for key, weight in part.named_parameters(recurse=False):
                if (f"{name}.{key}" if name else key) in self.frozen:
                    weight.requires_grad_(False).copy_(own.get_parameter(key))
            if self._is_frozen(name, part):
                for key, buffer in part.named_buffers(recurse=False):
                    buffer.copy_(own.get_buffer(key))

    def _untrained(self) -> nn.Module:
        if hasattr(self.network, "peft_config"):
            raise MismatchError("a network under LoRA cannot be made anew: set parameters.kind = 'full'")
        if self._build is not None:
            return self._build()
        config = getattr(self.network, "config", None)
        if config is not None and hasattr(self.network, "save_pretrained"):
            return type(self.network)(copy.deepcopy(config))
        module = copy.deepcopy(self.network)
        reset_weights(module)
        return module

    # ---- files ---------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the weights: in the hub's format where the network knows it, as ``model.safetensors`` otherwise."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        if callable(write := getattr(self.network, "save_pretrained", None)):
            with no_progress_bars():
                write(folder)
        else:
            state = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
            save_file(state, folder / WEIGHTS_NAME)
        if self.processor is not None:
            self.processor.save_pretrained(folder)
        honour_umask(folder)

    def load_weights(self, folder: Path) -> None:
        """Read what `save` has written into this network.

        Raises:
            SourceNotFound: `folder` holds no weights.
            MismatchError: The weights belong to another architecture.
        """
        from safetensors.torch import load_file

        path = folder / WEIGHTS_NAME
        if not path.is_file():
            raise SourceNotFound(f"no weights at {path}: give a folder that a network was saved to")
        try:
            self.network.load_state_dict(load_file(path))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise MismatchError(f"{path}: weights of another architecture ({reason})") from error


def _kind(item: LabelledItem) -> str:
    """Inputs and target in words; equal for items that can stand in one batch."""
    inputs = {name: "a sequence" if t.dim() == 1 else tuple(t.shape) for name, t in sorted(item.inputs.items())}
    target = "a number" if item.target.is_floating_point() else "a class number"
    return f"{inputs} with {target} of shape {tuple(item.target.shape)}"


def _forward(call: Callable[..., Any], tensors: Mapping[str, Tensor]) -> Tensor:
    inputs = {name.removeprefix(INPUT): t for name, t in tensors.items() if name.startswith(INPUT)}
    result = call(inputs["x"]) if inputs.keys() == {"x"} else call(**inputs)
    outputs = getattr(result, "logits", result)
    if not isinstance(outputs, Tensor) or outputs.dim() not in (1, 2):
        what = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(result).__name__
        raise MismatchError(f"the network returns {what}: it must return a tensor (batch, outputs) or have .logits")
    return outputs[:, None] if outputs.dim() == 1 else outputs
