"""What a run of a learner of tasks is about: data, tasks, requests and network, checked before anything is taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from genunlearn.config import ModelConfig
from genunlearn.config.continual import ContinualConfig
from genunlearn.config.network import NetworkConfig
from genunlearn.contracts import Method
from genunlearn.data.network.folders import read_item_folder
from genunlearn.data.network.items import Encode, Item, classes_of
from genunlearn.data.network.memory import Memory
from genunlearn.data.network.tasks import Request, read_pairs, read_stream, split_classes
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.hub import check_folder, encode_value, load_processor
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import ConfigError, DataError
from genunlearn.methods.network.continual.base import Learner
from genunlearn.records import hash_json
from genunlearn.registry import LAB, REPORTS
from genunlearn.runs.methods import build_learner, build_method
from genunlearn.runs.network.continual.learner import USUAL_METHOD
from genunlearn.runs.network.given import check_federated
from genunlearn.runs.network.request import study_of
from genunlearn.runs.requirements import check_requirements

if TYPE_CHECKING:
    from genunlearn.lab.network.study import Study

ARRAYS = ".npz"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run before its first step.

    Attributes:
        learner: How tasks are learnt.
        unlearn: How requests to forget are met; None for the learner's own loss.
        test: Items that are never learnt from, of all classes of the tasks.
        tasks: The classes of each task.
        requests: The stream.
        fresh: Makes a network with weights drawn by a seed.
    """

    learner: Learner
    unlearn: Method | None
    test: Sequence[Item]
    tasks: Sequence[Sequence[int]]
    requests: Sequence[Request]
    fresh: Callable[[int], NetworkDomain]

    @property
    def sha256(self) -> str:
        """Hash of the test items and of what each request is about."""
        asked = [[one.text, sorted(one.ids)] for one in self.requests]
        return hash_json([[item.id for item in self.test], asked])


def prepare(config: ContinualConfig) -> Prepared:
    """Read and check everything that needs no training.

    Raises:
        InputError: A name, the data, a task or a request cannot be used.
    """
    check_requirements(config)
    REPORTS.line(config.task, config.family)
    learner: Learner = build_learner(config.method, seed=config.seed)
    unlearn = unlearn_method(config, learner)
    fresh, encode = _network(config)
    train, test = _items(config, encode)
    tasks = split_classes(classes_of(train), config.request.tasks)
    taught = {label for own in tasks for label in own}
    test = [item for item in test if int(item.target) in taught]
    if not test:
        raise DataError("no test item is of a class that is learnt: what is known is measured on test items")
    requests = read_stream(train, tasks, config.request.stream, seed=config.seed)
    network = fresh(config.seed)
    network.check([*(item for item in train if int(item.target) in taught), *test])
    learner.surround(network, 0)
    _rehearse(learner, unlearn, requests, config.seed)
    return Prepared(learner=learner, unlearn=unlearn, test=test, tasks=tasks, requests=requests, fresh=fresh)


def unlearn_method(config: ContinualConfig, learner: Learner) -> Method | None:
    """The method for requests to forget; None for the learner's own loss.

    Raises:
        InputError: There is no such method, or it does not fit.
    """
    asked = config.unlearn
    if asked is None and learner.forgets:
        return None
    name = {"name": USUAL_METHOD} if asked is None else asked.model_dump()
    section = config.method.model_validate(name)
    method = build_method(section, "unlearn.{}".format, family=config.family, seed=config.seed)
    check_federated(method, "unlearn.name")
    method.check(Classifier)
    return method


def _rehearse(learner: Learner, unlearn: Method | None, requests: Sequence[Request], seed: int) -> None:
    """Let the memory go through the stream, which depends on no weights.

    Raises:
        DataError: It holds nothing that must stay when something is to be forgotten.
        NeedNotMet: The method forgets whole classes, and is asked for parts of some.
    """
    memory = Memory(learner.capacity, seed=seed)
    for number, request in enumerate(requests, start=1):
        if request.kind == "learn":
            memory.add(request.items, request.task)
            continue
        memory.forget(ids=request.ids)
        if not memory.items:
            raise DataError(
                f"request {number}, {request.text!r}: a memory of method.capacity = {learner.capacity} holds nothing "
                "then of what must stay: raise it"
            )
        if unlearn is not None:
            unlearn.check(Classifier, whole_classes=request.is_whole)


def _network(config: ContinualConfig) -> tuple[Callable[[int], NetworkDomain], Encode | None]:
    """What makes networks with fresh weights, and what turns texts and images of a folder into tensors."""
    source = config.model.source
    if source.startswith(LAB):
        return partial(_drawn, _study(source).adapter()), None
    folder = resolve_folder(source, config.model.revision)
    check_folder(folder, is_regression=False)
    processor = load_processor(folder)
    encode = None if processor is None else partial(encode_value, processor)
    return partial(_drawn, Classifier.load(str(folder), device=config.model.device)), encode


def _drawn(domain: NetworkDomain, seed: int) -> NetworkDomain:
    return domain.fresh(seed)


def _study(source: str) -> Study:
    return study_of(NetworkConfig(domain="classifier", model=ModelConfig(source=source)))


def _items(config: ContinualConfig, encode: Encode | None) -> tuple[list[Item], list[Item]]:
    """Training and test items."""
    source = config.request.data or (config.model.source if config.model.source.startswith(LAB) else "")
    if not source:
        raise ConfigError("request.data is empty: name lab:digits, a folder with train and test, or a file .npz")
    if source.startswith(LAB):
        data = _study(source).data
        train, test = list(data.train), list(data.test)
    elif source.endswith(ARRAYS):
        train, test = read_pairs(source)
    else:
        splits = read_item_folder(source, encode=encode)
        if not {"train", "test"} <= set(splits):
            raise DataError(f"{source} holds {', '.join(splits)}: give the splits train and test")
        train, test = splits["train"], splits["test"]
    if len({item.id for item in train}) < len(train):
        raise DataError(f"{source}: two training items have the same id")
    return _limited(train, config.request.limit), test


def _limited(items: list[Item], limit: int | None) -> list[Item]:
    if limit is None:
        return items
    found: list[Item] = []
    count: dict[int, int] = {}
    for item in items:
        label = int(item.target)
        count[label] = count.get(label, 0) + 1
        if count[label] <= limit:
            found.append(item)
    return found
