"""A classifier with what its own learning makes beside it: an averaged teacher, and heads for further losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genunlearn.contracts import Examples
from genunlearn.domains.network.base import INPUT, NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.errors import MismatchError

TURNS = 4
"""By how many right angles a picture may be turned."""


class TaughtNetwork(nn.Module):
    """A student, its exponential moving average, and heads on what enters the student's last linear layer.

    Called, it answers as the student does. The teacher has no gradient, and is always in evaluation mode.
    """

    updates: Tensor

    def __init__(self, student: nn.Module, *, projection: int, turns: bool) -> None:
        """Put a teacher beside a network, which stays the caller's.

        Args:
            student: The network.
            projection: Numbers of an embedding; 0 takes what enters the last layer as it is.
            turns: Whether there is a head that tells how a picture was turned.

        Raises:
            MismatchError: The network has no linear layer.
        """
        super().__init__()
        width = last_linear(student).in_features
        self.student = student
        self.projector: nn.Module = nn.Linear(width, projection) if projection else nn.Identity()
        self.turned = nn.Linear(width, TURNS) if turns else None
        self.teacher, self.teacher_projector = copy.deepcopy(student), copy.deepcopy(self.projector)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, *args: Any, **inputs: Any) -> Any:
        """The student's outputs."""
        return self.student(*args, **inputs)

    def train(self, mode: bool = True) -> TaughtNetwork:
        """Set the mode of everything but the teacher."""
        super().train(mode)
        self.teacher.eval()
        self.teacher_projector.eval()
        return self

    @torch.no_grad()
    def average(self, momentum: float) -> None:
        """Move the teacher towards the student: ``t = m t + (1 - m) s`` with ``m = min(1 - 1 / (k + 1), momentum)``.

        k counts the moves before, so the first one copies the student. Whole numbers are copied.
        """
        count = int(self.updates)
        share = min(1 - 1 / (count + 1), momentum)
        for teacher, student in ((self.teacher, self.student), (self.teacher_projector, self.projector)):
            own = student.state_dict()
            for name, tensor in teacher.state_dict().items():
                if tensor.is_floating_point():
                    tensor.mul_(share).add_(own[name], alpha=1 - share)
                else:
                    tensor.copy_(own[name])
        self.updates += 1

    def copy_student(self) -> None:
        """Let the teacher know what the student knows, and nothing more."""
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher_projector.load_state_dict(self.projector.state_dict())


class TaughtClassifier(Classifier):
    """A classifier around a `TaughtNetwork`.

    Checkpoints hold everything, the teacher's statistics too, so `learns_statistics` is always on;
    `moves_statistics` says whether the student's are learnt.
    """

    moves_statistics = True

    @classmethod
    def around(cls, domain: NetworkDomain, *, projection: int, turns: bool, seed: int) -> TaughtClassifier:
        """A classifier whose student is the network of `domain`; `seed` decides the heads, and the untrained network.

        Raises:
            MismatchError: The network has no linear layer, or no weights that can be drawn anew.
        """
        untrained = domain.fresh(seed)
        untrained.module.requires_grad_(False).eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = TaughtNetwork(domain.network, projection=projection, turns=turns).to(domain.device, domain.dtype)
        taught = cls(network, learns_statistics=True)
        taught._untrained_twin = untrained
        return taught

    def embed(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """The student's logits, and embeddings of length 1."""
        hidden, logits = self._hidden(examples)
        return logits, F.normalize(self.network.projector(hidden).float(), dim=1)

    @torch.no_grad()
    def embed_by_teacher(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """The teacher's logits and embeddings."""
        other = copy.copy(self)
        other.module = self.network.teacher
        hidden, logits = other._hidden(examples)
        return logits, F.normalize(self.network.teacher_projector(hidden).float(), dim=1)

    def turn_logits(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """What the head says of pictures turned at random, and by how many right angles each was.

        Raises:
            MismatchError: The examples are no square pictures.
        """
        pictures = examples.tensors.get(f"{INPUT}x")
        if pictures is None or pictures.dim() != 4 or pictures.shape[-1] != pictures.shape[-2]:
            raise MismatchError("turned examples must be square pictures: set method.turn_weight = 0")
        turns = torch.randint(TURNS, (len(pictures),)).to(pictures.device)
        turned = torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(pictures, turns, strict=True)])
        hidden, _ = self._hidden(_with(examples, {f"{INPUT}x": turned}))
        return self.network.turned(hidden), turns

    def _hidden(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """What enters the last linear layer, ``(batch, d)``, and the logits."""
        seen: list[Tensor] = []
        network = self.module.student if isinstance(self.module, TaughtNetwork) else self.module
        handle = last_linear(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
        try:
            logits = self.output_logits(examples)
        finally:
            handle.remove()
        return seen[-1], logits

    def _settle_statistics(self, batch: int) -> None:
        super()._settle_statistics(batch)
        if isinstance(network := self.network, TaughtNetwork):
            network.teacher.eval()
            if not self.moves_statistics:
                for part in network.student.modules():
                    if isinstance(part, nn.modules.batchnorm._BatchNorm):
                        part.eval()


def last_linear(network: nn.Module) -> nn.Linear:
    """The last linear layer of a network, in the order in which its parts were made.

    Raises:
        MismatchError: There is none.
    """
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise MismatchError("the network has no linear layer, so no embedding to compare: take er, der or ewc")
    return layers[-1]


def joined(first: Examples, *others: Examples) -> Examples:
    """One batch of several, with the tensors that all of them have."""
    parts = (first, *others)
    names = [name for name in first.tensors if all(name in part for part in others)]
    return Examples(
        tuple(key for part in parts for key in part.ids),
        torch.cat([part.weight for part in parts]),
        {name: torch.cat([part[name] for part in parts]) for name in names},
    )


def _with(examples: Examples, tensors: Mapping[str, Tensor]) -> Examples:
    return Examples(examples.ids, examples.weight, {**examples.tensors, **tensors})
