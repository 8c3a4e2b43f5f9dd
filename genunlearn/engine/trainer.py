"""Training as a method sees it: call after call of the loop, each resumable."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Domain, Objective, Reference, Splits
from genunlearn.contracts.methods import Watcher
from genunlearn.domains.sharding import is_sharded, is_sharding_asked
from genunlearn.engine import parameters
from genunlearn.engine.batches import PairedBatches, derive_seed
from genunlearn.engine.checkpoints import Checkpoints, Position, Stateful, writes_beside
from genunlearn.engine.loop import Entry, Loop, every
from genunlearn.engine.progress import Watch
from genunlearn.engine.reference import NoReference, fill_reference, needs_copy
from genunlearn.engine.updates import WholeUpdate, update_of
from genunlearn.errors import NeedNotMet, NonFiniteLoss
from genunlearn.processes import this_process, without_deepspeed
from genunlearn.registry import require

Check = Callable[[int], bool]


@dataclass(frozen=True)
class Phase:
    """One call of the loop: its number from 0, what is trained on what, how and for how long."""

    number: int
    objective: Objective
    splits: Splits
    settings: TrainConfig
    last: int
    check: Check | None


class Trainer:
    """Trains ``domain`` in place; each call is one phase, and finished phases are not done again.

    Attributes:
        steps_done: Optimiser steps over all phases.
        history: Log entries over all phases.
    """

    def __init__(
        self,
        domain: Domain,
        train: TrainConfig,
        trained: ParametersConfig,
        *,
        seed: int,
        state: Path | None = None,
        watch: Watcher | None = None,
        is_reopened: bool = False,
    ) -> None:
        """Make the chosen weights trainable.

        Args:
            domain: What is trained.
            train: How.
            trained: Which weights.
            seed: Of batches and of all that is random.
            state: Folder of checkpoints, by default a temporary one.
            watch: Told of progress.
            is_reopened: Whether a run that is taken up again opens `domain` anew as it is now, so that no checkpoint
                needs to hold the weights that it begins with.

        Raises:
            NeedNotMet: The launcher asks for sharded weights, and those of `domain` are whole.
        """
        self.domain, self.settings, self.trained, self.seed = domain, train, trained, seed
        if is_sharding_asked() and not is_sharded(domain.network):
            raise NeedNotMet(f"models of {domain.name!r} cannot be sharded: use configs/accelerate/multi_gpu.yaml")
        this_process()  # before the accelerator, which does not look for other processes on the CPU
        with without_deepspeed():
            self.accelerator = Accelerator()
        self.watch: Watcher = watch or Watch(is_shown=False)
        self.history: list[Entry] = []
        if state is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="genunlearn-")  # goes when the trainer goes
            state = Path(self._temporary.name)
        self._state = state
        is_deferred = writes_beside(self.accelerator.device)
        self._checkpoints = Checkpoints(self._state, is_deferred=is_deferred)
        self._before, self._is_reopened = Checkpoints(self._state, "before"), is_reopened
        self._mark = Checkpoints(self._state, "mark")
        self._saved = self._checkpoints.position()
        self._phase = 0
        self._fused_after: int | None = None
        self._marked_after: int | None = None
        self._is_replayed = False
        parameters.attach(domain, trained, derive_seed(seed, "lora", 0))
        self._wrap()

    @property
    def steps_done(self) -> int:
        """Optimiser steps over all phases."""
        return len(self.history)

    def __call__(
        self,
        objective: Objective,
        splits: Splits,
        *,
        steps: int | None = None,
        learning_rate: float | None = None,
        check: Check | None = None,
    ) -> None:
        """Train the model in place.

        Args:
            objective: The loss.
            splits: Forget and retain items.
            steps: Optimiser steps of this phase; by default the configured number.
            learning_rate: Peak rate of this phase; by default the configured one.
            check: Called with the number of steps done every `check_every` steps; True ends the phase. When a phase
                is taken up again, it is called anew for the checks that are past, so what it measures must come from a
                journal. Only for the first phase.
        """
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        settings = self.settings.model_copy(update=rate)
        phase = Phase(self._phase, objective, splits, settings, steps or settings.max_steps, check)
        self._phase += 1
        saved = self._saved
        if saved is None or saved.phase < phase.number:
            if self._is_copied(phase) and not (self._is_reopened and phase.number == 0):
                self._save(self._before, Position(phase.number, 0, False, []))
            self._train(phase, 0)
        elif saved.phase == phase.number:
            self.history = list(saved.history)
            self._replay(phase)
            if saved.is_done:
                self._checkpoints.restore(self._module)
            else:
                self._train(phase, saved.step)

    def fuse(self) -> None:
        """Fold what has been trained into the weights and go on with a fresh LoRA.

        Raises:
            NeedNotMet: The weights are cut over several processes.
        """
        if is_sharded(self._module):
            raise NeedNotMet("sharded weights take no LoRA in: run one process, or a method that does not fold it in")
        self.domain.module = self._module
        parameters.fuse(self.domain, self.trained, derive_seed(self.seed, "lora", self._phase))
        self._fused_after = self._phase
        self._wrap()

    def mark(self) -> None:
        """Remember the weights as they are; may be called from a phase's `check`."""
        self._marked_after = self._fused_after
        if not self._is_past or not self._mark.path.is_file():
            self._save(self._mark, Position(self._phase, 0, False, []))

    def back(self) -> None:
        """Put the weights back to where they were when `mark` was last called; not possible once they are fused."""
        if self._marked_after != self._fused_after:
            raise RuntimeError("back after fuse: the marked weights are folded in already")
        if not self._is_past:
            self._mark.restore(self._module)

    @property
    def _is_past(self) -> bool:
        """Whether this is retold from a run that had come further: later weights lie in its checkpoint."""
        return self._is_replayed or (self._saved is not None and self._saved.phase >= self._phase)

    def _replay(self, phase: Phase) -> None:
        """Let the checks of a phase that is taken up again pass once more, for what they remember."""
        done, interval = len(self.history), self.settings.check_every
        if phase.check is None:
            return
        self._is_replayed = True
        for step in range(1, done + 1):
            if step % interval == 0 or step == phase.last:
                phase.check(step)
        self._is_replayed = False

    @property
    def _module(self) -> Any:
        module = self.domain.module
        return module if is_sharded(module) else self.accelerator.unwrap_model(module)

    def _wrap(self) -> None:
        if is_sharded(self.domain.module):
            return
        self.domain.module = self.accelerator.prepare_model(self.domain.module)
        vars(self._module).pop("_is_accelerate_prepared", None)  # a mark on a module that may be the caller's own

    def _train(self, phase: Phase, first: int) -> None:
        """Do the steps from `first` on."""
        number, last, check = phase.number, phase.last, phase.check
        update = update_of(self.domain, self._optimizer(), self.accelerator, phase.settings.max_grad_norm)
        if first and self._is_copied(phase) and self._before.position() is not None:
            self._before.restore(self._module)  # the reference is the model as it was when the phase began
        loop = self._loop(phase, update)
        if first:
            self._checkpoints.restore(self._module, update.state)
        is_stopped = False
        with self.watch.bar(f"training, phase {number + 1}", last - first) as advance:

            def note(done: int, entry: Entry) -> None:
                self.history.append(entry)
                advance(note=f"loss {entry['loss']:.3f}")

            def stop(done: int, entry: Entry) -> bool:
                nonlocal is_stopped
                is_stopped = check is not None and check(done)
                return is_stopped

            def save(done: int, entry: Entry | None = None) -> None:
                if done < last and not is_stopped:
                    self._save(self._checkpoints, Position(number, done, False, self.history), update.state)

            saving, checking, before = self.settings.save_every, self.settings.check_every, len(self.history)
            try:
                with _tensor_cores(self.accelerator.device):
                    loop.run(first, last, every(1, note), every(checking, stop), every(saving, save))
            except NonFiniteLoss:
                save(first + len(self.history) - before)
                raise
            finally:
                self._checkpoints.flush()
        update.end()  # where training fails, the other processes may not come here
        self._save(self._checkpoints, Position(number, last, True, self.history))

    def _loop(self, phase: Phase, update: WholeUpdate) -> Loop:
        seed, process = derive_seed(self.seed, "phase", phase.number), self.accelerator
        sizes = (self.settings.batch_size, self.settings.accumulation)
        batches = PairedBatches(phase.splits, *sizes, seed, process.process_index, process.num_processes)
        reference = self._reference(phase)
        return Loop(self.domain, phase.objective, reference, batches, update, phase.settings, process, seed)

    def _reference(self, phase: Phase) -> Reference:
        if not phase.objective.needs.reference:
            return NoReference()
        path = self._state / f"reference-{phase.number}.safetensors"
        size = 4 * self.settings.batch_size
        return fill_reference(self.domain, self.trained.kind, phase.objective, phase.splits, path, size)

    def _is_copied(self, phase: Phase) -> bool:
        """Whether the weights that a phase begins with are asked for until its end."""
        return needs_copy(self.domain, self.trained.kind, phase.objective)

    def _optimizer(self) -> torch.optim.Optimizer:
        weights = list(parameters.trainable(self._module).values())
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        if self.settings.optimizer == "adamw_8bit":
            require("bitsandbytes", "train.optimizer = 'adamw_8bit'")
            from bitsandbytes.optim.adamw import AdamW8bit

            return AdamW8bit(weights, lr=rate, weight_decay=decay)
        # Not the fused form: its bits depend on where tensors lie in memory, so that a resumed run has others.
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)

    def _weights(self) -> dict[str, Any]:
        module = self._module
        everything = self._fused_after is not None
        weights = dict(module.named_parameters()) if everything else dict(parameters.trainable(module))
        if self.domain.learns_statistics:  # running statistics move with the weights
            weights |= dict(module.named_buffers())
        return weights

    def _save(self, file: Checkpoints, position: Position, optimizer: Stateful | None = None) -> None:
        is_main = self.accelerator.is_main_process
        if is_main or is_sharded(self._module):
            file.save(position, self._weights(), optimizer, is_written=is_main)
        self.accelerator.wait_for_everyone()


@contextmanager
def _tensor_cores(device: torch.device) -> Iterator[None]:
    """Within the block, float32 matrices are multiplied by a GPU's tensor cores, in TF32; elsewhere nothing changes."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
