"""Gated knowledge transfer: a new network learns from the old one on invented pictures, past a gate, without any data.

    gate:       keep x = G(z) where the teacher's probability of the forgotten classes is at most epsilon
    generator:  minimise -KL( t(x) || s(x) )
    student:    minimise  KL( t(x) || s(x) ) + beta sum_j AT_j(s, t)

One generator step and ten student steps share a draw of z; this is one pseudo-batch. The student begins with fresh
weights, so what does not pass the gate is never learnt. Of the forget set only the labels and the shape of an input are
looked at.

Source: Chundawat, Tarun, Mandal, Kankanhalli, "Zero-Shot Machine Unlearning" (TIFS 2023), section 5. Authors' settings:
4000 pseudo-batches of 256, epsilon 0.01, beta 250, T 1, Adam 1e-3 for both, gradients clipped at norm 5.
Deviations: what passes the gate still carries up to epsilon of the forgotten class, and the authors' own runs learn the
class back from it after some 750 pseudo-batches. The default hides the class: the teacher's probabilities are taken
without it, and training stops, with the last good weights, once the student sees the class in what the gate rejects
(`leak_limit`). ``guard = "authors"`` does neither. KL is summed over classes (``reduction = "mean"`` divides by their
number, as the authors do). The student's BatchNorm learns its statistics (``statistics = "initial"`` leaves them at 0
and 1, as in the authors' loop, which never leaves evaluation mode). The learning rates stay constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT, Examples, Journal, Needs, Outcome, Protocol, Splits, Train
from genunlearn.data.network.items import classes_of
from genunlearn.domains.network.base import INPUT, NetworkDomain
from genunlearn.domains.network.noise import input_shape
from genunlearn.errors import MismatchError
from genunlearn.ops.attention_maps import attention_distance
from genunlearn.ops.divergences import Reduction, kl_divergence

HIDDEN_LOGIT = -1e10
MAX_NORM = 5.0
MOST_EMPTY = 100  # draws in a row that the gate may reject altogether before the generator goes back
MEMORY = 0.9  # of the running mean behind the leak


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GKT(Protocol[NetworkDomain]):
    """Zero-shot unlearning by gated distillation."""

    name: ClassVar[str] = "gkt"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(whole_classes=True)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "anew"
    paper: ClassVar[str] = "Chundawat et al., TIFS 2023"
    equation: ClassVar[str] = "KL(t || s) + beta AT(s, t) on G(z) where t(forgotten | G(z)) <= epsilon"

    pseudo_batches: Annotated[
        int, Field(ge=1, description="draws of z, each for a generator step and student steps")
    ] = 4000
    batch_size: Annotated[int, Field(ge=2, description="pictures of a draw")] = 256
    student_steps: Annotated[int, Field(ge=1, description="student steps on a draw")] = 10
    gate: Annotated[float, Field(gt=0, le=1, description="epsilon, most probability of the forgotten classes")] = 0.01
    beta: Annotated[float, Field(ge=0, description="weight of the attention maps")] = 250.0
    temperature: Annotated[float, Field(gt=0, description="T of the divergence")] = 1.0
    learning_rate: Annotated[float, Field(gt=0, description="of student and generator")] = 1e-3
    reduction: Annotated[Reduction, Field(description="'mean' divides KL by the number of classes")] = "batchmean"
    guard: Annotated[
        Literal["hidden", "authors"], Field(description="hide the forgotten classes from the student, or only gate")
    ] = "hidden"
    statistics: Annotated[
        Literal["batch", "initial"], Field(description="BatchNorm of the student: learning, or left as it begins")
    ] = "batch"
    leak_limit: Annotated[
        float, Field(gt=0, le=1, description="student's probability of the class in rejected pictures that ends it")
    ] = 0.01
    leak_after: Annotated[
        int, Field(ge=0, description="pseudo-batches before it can: a fresh student gives every class its share")
    ] = 50
    check_every: Annotated[int, Field(ge=1, description="pseudo-batches between looks at the leak")] = 10
    latent: Annotated[int, Field(ge=1, description="size of z")] = 128
    seed: Annotated[int, Field(ge=0, description="of student, generator and draws")] = 0

    def run(self, train: Train, model: NetworkDomain, splits: Splits, journal: Journal) -> Outcome:
        """Teach a student on invented pictures and put its weights in place of the model's.

        Raises:
            MismatchError: The network does not take pictures.
        """
        forgotten = classes_of(splits.forget)
        shape = input_shape(splits.forget)
        if len(shape) != 3:
            raise MismatchError(f"inputs of shape {tuple(shape)}: gated knowledge transfer invents pictures")
        name = next(iter(splits.forget[0].inputs))
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            transfer = Transfer(self, model, forgotten, name, shape)
            done, is_leaking = self._teach(transfer, journal)
        model.network.load_state_dict(transfer.student.network.state_dict())
        reason = f"{done} pseudo-batches, leak {transfer.leak:.4f}"
        if is_leaking:
            return Outcome(status="stopped_by_guard", reason=f"{reason}: back to the last weights below the limit")
        return Outcome(status="trained", reason=reason)

    def _teach(self, transfer: Transfer, journal: Journal) -> tuple[int, bool]:
        """Pseudo-batches done, and whether the guard ended it."""
        with transfer.teacher.inference(), journal.bar("gkt, pseudo-batches", self.pseudo_batches) as advance:
            for number in range(self.pseudo_batches):
                transfer.step()
                advance(note=f"leak {transfer.leak:.4f}")
                if (number + 1) % self.check_every:
                    continue
                if self.guard == "hidden" and number >= self.leak_after and transfer.leak > self.leak_limit:
                    transfer.restore()
                    return number + 1, True
                transfer.remember()
        transfer.student.module.eval()
        return self.pseudo_batches, False


class Transfer:
    """Teacher, student and generator, and one pseudo-batch of their game.

    Attributes:
        teacher: The model as it is.
        student: A network of the same architecture with fresh weights.
        leak: Running mean of the probability that the student gives the forgotten classes in rejected pictures.
    """

    def __init__(self, method: GKT, teacher: Any, forgotten: Sequence[int], name: str, shape: torch.Size) -> None:
        """Draw fresh weights from the present random state and the method's seed."""
        self.teacher, self.student = teacher, teacher.fresh(method.seed)
        self.leak = 0.0
        self._method, self._forgotten, self._input = method, list(forgotten), f"{INPUT}{name}"
        self._generator = Generator(method.latent, shape).to(teacher.device, teacher.dtype)
        taught = [weight for weight in self.student.module.parameters() if weight.requires_grad]
        self._students = torch.optim.Adam(taught, lr=method.learning_rate)
        self._generators = torch.optim.Adam(self._generator.parameters(), lr=method.learning_rate)
        self._empty = 0
        self.remember()

    def step(self) -> None:
        """One draw of z: a generator step, then the student's steps."""
        size, teacher = (self._method.batch_size, self._method.latent), self.teacher
        z = torch.randn(size, device=teacher.device, dtype=teacher.dtype)
        self.student.module.train(self._method.statistics == "batch")
        if self._invent(z):
            self._learn(z)
            self._empty = 0
            return
        self._empty += 1
        if self._empty > MOST_EMPTY:
            self._generator.load_state_dict(self._good["generator"])
            self._empty = 0

    def remember(self) -> None:
        """Keep the present weights as the last good ones."""
        parts = {"student": self.student.network, "generator": self._generator}
        self._good = {key: {k: v.clone() for k, v in part.state_dict().items()} for key, part in parts.items()}

    def restore(self) -> None:
        """Put the student back to the last good weights."""
        self.student.network.load_state_dict(self._good["student"])
        self.student.module.eval()

    def _invent(self, z: Tensor) -> bool:
        """The generator's step; False if the gate lets fewer than two pictures through."""
        pictures = self._generator(z)
        logits = self.teacher.output_logits(self._examples(pictures))
        passes = self._passes(logits)
        self._watch(pictures[~passes])
        if passes.sum() < 2:
            return False
        answers = self.student.output_logits(self._examples(pictures[passes]))
        self._descend(-self._apart(self._target(logits[passes]), answers), self._generators)
        return True

    def _learn(self, z: Tensor) -> None:
        """The student's steps, all on the same pictures: what the teacher says of them is asked once."""
        with torch.no_grad():
            pictures = self._generator(z)
            logits, maps = self.teacher.features(self._examples(pictures))
            passes = self._passes(logits)
        if passes.sum() < 2:
            return
        kept, target = self._examples(pictures[passes]), self._target(logits[passes])
        shown = [layer[passes] for layer in maps]
        for _ in range(self._method.student_steps):
            answers, seen = self.student.features(kept)
            loss = self._apart(target, answers) + self._method.beta * attention_distance(seen, shown).mean()
            self._descend(loss, self._students)

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(weights, MAX_NORM)
        optimizer.step()

    def _passes(self, logits: Tensor) -> Tensor:
        return logits.detach().softmax(-1)[:, self._forgotten].sum(-1) <= self._method.gate

    def _target(self, logits: Tensor) -> Tensor:
        if self._method.guard == "authors":
            return logits
        return logits.float().index_fill(-1, torch.tensor(self._forgotten, device=logits.device), HIDDEN_LOGIT)

    def _apart(self, target: Tensor, answers: Tensor) -> Tensor:
        method = self._method
        return kl_divergence(target, answers, temperature=method.temperature, reduction=method.reduction).mean()

    @torch.no_grad()
    def _watch(self, rejected: Tensor) -> None:
        """Follow what the student makes of pictures that the gate has rejected."""
        if len(rejected) == 0:
            return
        with self.student.inference():
            answers = self.student.output_logits(self._examples(rejected)).softmax(-1)
        now = float(answers[:, self._forgotten].sum(-1).mean())
        self.leak = MEMORY * self.leak + (1 - MEMORY) * now

    def _examples(self, pictures: Tensor) -> Examples:
        return Examples((), torch.ones(len(pictures)), {self._input: pictures})


class Generator(nn.Module):
    """Pictures from noise: a dense layer, then two convolutions, each after doubling the picture."""

    def __init__(self, latent: int, shape: torch.Size) -> None:
        """`shape`: ``(channels, height, width)`` of a picture."""
        super().__init__()
        channels, height, width = shape
        self.first = (8, -(-height // 4), -(-width // 4))
        self.dense = nn.Linear(latent, self.first[0] * self.first[1] * self.first[2])
        self.body = nn.Sequential(
            nn.BatchNorm2d(self.first[0]),
            nn.Upsample(size=(-(-height // 2), -(-width // 2))),
            nn.Conv2d(self.first[0], 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.Upsample(size=(height, width)),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``(batch, latent)`` to ``(batch, channels, height, width)``."""
        return self.body(self.dense(z).unflatten(1, self.first))
