"""A learner of tasks that forgets on request: its network, its memory, and a snapshot after every request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genunlearn.config import MethodConfig, ParametersConfig, TrainConfig, build_section
from genunlearn.config.continual import ContinualTrainConfig
from genunlearn.contracts import Method, Splits
from genunlearn.data.extras import with_extras
from genunlearn.data.network.items import Item, as_items
from genunlearn.data.network.memory import Memory
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.engine.batches import derive_seed
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import DataError
from genunlearn.methods.network.continual.base import Kept, Learner
from genunlearn.records import replacing
from genunlearn.runs.methods import build_learner, build_method
from genunlearn.runs.unlearning import carry_out

DEFAULT = ContinualTrainConfig()
USUAL_METHOD = "bad_teaching"
NETWORK, KEPT, MEMORY = "network/", "kept/", "memory/"
FULL = ParametersConfig(kind="full")


class ContinualLearner:
    """A network that learns task after task, and forgets on request.

    Attributes:
        domain: The network as others see it; what is measured and saved.
        memory: Items of what was learnt and is not forgotten.
        steps_done: Optimiser steps so far, without those of requests that were taken from a snapshot.

    Example:
        >>> learner = ContinualLearner(network, method="uniclun")
        >>> learner.learn((x[y < 2], y[y < 2]))
        >>> learner.learn((x[y >= 2], y[y >= 2]))
        >>> learner.forget(classes=[1], data=(x[y == 1], y[y == 1]))
    """

    def __init__(
        self,
        network: nn.Module | NetworkDomain,
        *,
        method: str | Mapping[str, Any] | Learner = "uniclun",
        unlearn: str | Mapping[str, Any] | Method | None = None,
        train: ContinualTrainConfig = DEFAULT,
        forget_train: ContinualTrainConfig | None = None,
        seed: int = 0,
        state: tuple[Path, Watch] | None = None,
    ) -> None:
        """Begin with a network that is trained in place, from the weights that it has.

        Args:
            network: A classifier with one output for every class that will ever come.
            method: How tasks are learnt (``genunlearn ls learners``): a name, or a mapping with hyper-parameters.
            unlearn: How requests to forget are met: any method for classifiers. None takes the learner's own loss where
                it has one, and ``bad_teaching`` otherwise.
            train: How a task is trained.
            forget_train: How a request to forget is; by default as a task.
            seed: Of everything random.
            state: Folder of snapshots, and who watches; by default nothing is kept and nobody does.

        Raises:
            InputError: A name or a hyper-parameter is wrong, or the network cannot be used.
        """
        self.method = method if isinstance(method, Learner) else build_learner(_section(method), seed=seed)
        if unlearn is None and not self.method.forgets:
            unlearn = USUAL_METHOD
        self.unlearn = unlearn if unlearn is None or isinstance(unlearn, Method) else _method(unlearn, seed)
        self.domain = network if isinstance(network, NetworkDomain) else Classifier(network)
        self._train, self._forget_train = train, forget_train or train
        self._seed, self._number = seed, 0
        self._state: Path | None = None
        self._watch = Watch(is_shown=False)
        if state is not None:
            self._state, self._watch = state
        self._trained = self.method.surround(self.domain, derive_seed(seed, "heads") % 2**32)
        self._kept = Kept(Memory(self.method.capacity, seed=seed))
        self._seen: dict[str, Item] = {}
        self._tasks = 0
        self.steps_done = 0

    @property
    def network(self) -> nn.Module:
        """The network itself."""
        module: nn.Module = self.domain.network
        return module

    @property
    def memory(self) -> Memory:
        """Items of what was learnt and is not forgotten."""
        return self._kept.memory

    def learn(self, data: Any) -> None:
        """Learn a task, then offer its items to the memory.

        Args:
            data: Labelled examples, see `genunlearn.data.network.items.as_items`.

        Raises:
            DataError: They cannot be used, or one was learnt before.
        """
        items = as_items(data, prefix=f"task-{self._tasks}-")
        self.domain.check(items)
        known = set(self.memory.known)
        if twice := [item.id for item in items if item.id in known]:
            raise DataError(f"item {twice[0]!r} was learnt before: an id stands for one item, which is learnt once")
        task, self._tasks = self._tasks, self._tasks + 1
        if self._state is not None:  # a snapshot of the memory holds ids
            self._seen |= {item.id: item for item in items}

        def work(trainer: Trainer) -> None:
            self._trained.learns_statistics = True
            trainer(self.method.learning(self._kept), Splits(forget=(), retain=items))
            self.memory.add(items, task)
            self.method.settle(self._trained, self._kept, list(items), has_forgotten=False)

        self._request(self._trained, self._train.loop(len(items)), work)

    def forget(
        self,
        *,
        ids: Collection[str] = (),
        classes: Collection[int] = (),
        task: int | None = None,
        data: Any = None,
    ) -> tuple[str, ...]:
        """Forget items by id, classes, or a task: they leave the memory, then the network.

        Args:
            ids: Of items.
            classes: Class numbers.
            task: Its number, counted from 0 in the order of learning.
            data: The examples that are to be forgotten; by default those that the memory still holds.

        Returns:
            The ids that are forgotten.

        Raises:
            DataError: Something of it is not known, nothing or everything is asked for, or there are no examples to
                forget, or none left in the memory that must stay.
            NeedNotMet: The method forgets whole classes, and is asked for parts of some.
        """
        before = {item.id: item for item in self.memory.items}
        known, state = set(self.memory.known), self.memory.state()
        going = set(self.memory.forget(ids=ids, classes=classes, task=task))
        try:
            items = (
                [before[key] for key in before if key in going] if data is None else as_items(data, prefix="forget-")
            )
            self._check_forgetting(going, known, items)
        except Exception:
            self.memory.restore(state, before)
            raise
        items = [Item(id=one.id, inputs=one.inputs, target=one.target, subclass=one.subclass) for one in items]

        def work(trainer: Trainer) -> None:
            self._forget(trainer, Splits(forget=items, retain=list(self.memory.items)))
            self.method.settle(self._trained, self._kept, [], has_forgotten=True)

        own = self.unlearn is None
        model, settings = self._trained if own else self.domain, self._forget_train.loop(len(items))
        self._request(model, settings, work)
        return tuple(sorted(going))

    def skip(self) -> None:
        """Let a request pass that is none for this learner, so that later ones have the same numbers."""
        self._number += 1

    # ---- one request -----------------------------------------------------------------------------------------

    def _check_forgetting(self, going: set[str], known: set[str], items: Sequence[Item]) -> None:
        if not going:
            raise DataError("nothing to forget: give ids, classes or a task")
        if going == known:
            raise DataError("this forgets everything that was learnt: start with fresh weights instead")
        if not items:
            raise DataError(f"the memory holds none of these {len(going)} items: give them as data")
        if not self.memory.items:
            raise DataError(
                f"nothing of what must stay is left in the memory of {self.memory.capacity}: raise method.capacity"
            )
        self.domain.check(items)
        if self.unlearn is not None:
            label_of = self.memory.state()["known"]
            left = {label for _, label, _ in label_of}
            is_whole = left.isdisjoint(int(item.target) for item in items)
            self.unlearn.check(type(self.domain), whole_classes=is_whole)

    def _forget(self, trainer: Trainer, splits: Splits) -> None:
        own = self.method.forgetting(self._kept) if self.unlearn is None else None
        if own is not None:
            trainer(own, Splits(forget=splits.forget))
            return
        assert self.unlearn is not None
        self.domain.learns_statistics = False  # as everywhere in unlearning: the forget set would pull them away
        retain = [Item(id=one.id, inputs=one.inputs, target=one.target) for one in splits.retain or ()]
        carry_out(
            self.unlearn,
            trainer,
            Splits(forget=splits.forget, retain=retain),
            FileJournal(None, self._watch),
            seed=derive_seed(self._seed, self._number),
        )

    def _request(self, model: NetworkDomain, settings: TrainConfig, work: Callable[[Trainer], None]) -> None:
        """Do one request, or take what came of it from its snapshot."""
        number, self._number = self._number, self._number + 1
        path = None if self._state is None else self._state / f"request-{number:03d}.safetensors"
        if path is not None and path.is_file():
            self._restore(path)
            return
        training = None if self._state is None else self._state / f"request-{number:03d}"
        seed = derive_seed(self._seed, "request", number)
        trainer = Trainer(model, settings, FULL, seed=seed, state=training, watch=self._watch)
        work(trainer)
        model.module.eval()
        self.steps_done += trainer.steps_done
        if path is not None:
            self._save(path)
        if training is not None:
            shutil.rmtree(training, ignore_errors=True)

    # ---- snapshots -------------------------------------------------------------------------------------------

    def _save(self, path: Path) -> None:
        tensors = {NETWORK + name: tensor for name, tensor in self._trained.network.state_dict().items()}
        tensors |= {KEPT + name: tensor for name, tensor in self._kept.tensors.items()}
        held = self.memory.items
        for name in held[0].extras if held else ():
            tensors[MEMORY + name] = torch.stack([item.extras[name] for item in held])
        state = {"memory": self.memory.state(), "steps": self.steps_done}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            save_file(plain, temporary, metadata={"state": json.dumps(state)})

    def _restore(self, path: Path) -> None:
        rooms: dict[str, dict[str, Tensor]] = {NETWORK: {}, KEPT: {}, MEMORY: {}}
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118
                room, _, name = key.partition("/")
                rooms[f"{room}/"][name] = file.get_tensor(key)
        try:
            self._trained.network.load_state_dict(rooms[NETWORK])
        except RuntimeError:
            raise DataError(f"{path}: the snapshot is of another network; start a fresh --out") from None
        self._trained.module.eval()
        self._kept.tensors = rooms[KEPT]
        self.memory.restore(state["memory"], self._seen)
        self.memory.items = with_extras(self.memory.items, **rooms[MEMORY])
        self.steps_done = state["steps"]


def _section(given: str | Mapping[str, Any]) -> MethodConfig:
    return build_section(MethodConfig, {"name": given} if isinstance(given, str) else given, "method")


def _method(given: str | Mapping[str, Any], seed: int) -> Method:
    return build_method(_section(given), "unlearn.{}".format, family="network", seed=seed)
