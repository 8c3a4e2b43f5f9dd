"""One run of a learner of tasks: request after request, each measured beside learners that never had what is gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genunlearn.config.continual import ContinualConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.data.network.tasks import Request, without
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine import parameters
from genunlearn.engine.progress import Watch
from genunlearn.evaluation.network.continual import START, History
from genunlearn.records import Result, RunRecord, hash_files
from genunlearn.registry import LAB
from genunlearn.reports.oracles import FEWEST
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.network.continual.learner import ContinualLearner
from genunlearn.runs.network.continual.measure import TEST, StreamProbe, View, set_name, views_of
from genunlearn.runs.network.continual.prepare import Prepared, prepare
from genunlearn.runs.unlearning import COLLAPSED

MODEL = "model"
HALF = 0.5
"""Of what is to be known: a learner and an oracle that both know less are no measure of anything."""
ORACLE_SEEDS = 1000
"""Seeds of oracles are this far from the run's, and from each other."""


class ContinualRun:
    """One run; see the module."""

    def __init__(self, config: ContinualConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before anything is taught, then make the folder.

        Raises:
            InputError: Data, tasks, stream, learner or network cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.prepared = prepare(config)
        self.views = views_of(self.prepared.requests)
        self.probe = StreamProbe(self.prepared.test, config.seed)
        known = {"request": self.prepared.sha256}
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data=known)
        self.oracles = Oracles(config, self.prepared, self.folder.state, self.watch)

    @staticmethod
    def check(config: ContinualConfig) -> str:
        """Check what needs no training; says in a few words what the run would do."""
        prepared = prepare(config)
        learns = sum(one.kind == "learn" for one in prepared.requests)
        how = "its own loss" if prepared.unlearn is None else prepared.unlearn.name
        forgets = len(prepared.requests) - learns
        counted = f"{learns} task{'s' * (learns != 1)}, {forgets} request{'s' * (forgets != 1)} to forget by {how}"
        return f"{prepared.learner.name} on {config.model.source}: {counted}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded(), environment(self.config):
            self._describe()
            network = self.prepared.fresh(self.config.seed)
            learner = new_learner(self.config, self.prepared, network, self.config.seed, self.folder.state, self.watch)
            self.record.parameters = parameters.count(network.network)
            right = {START: self._right(START, learner.domain)}
            for view, request in zip(self.views, self.prepared.requests, strict=True):
                self.watch.announce(f"request {view.number + 1} of {len(self.views)}: {request.text}")
                before = self._before(view, request, learner)
                spent = self._carry_out(view, request, learner)
                right[view.number] = self._right(view.number, learner.domain)
                results = [*before, *self._measure(view, learner), *self._over_time(view, right)]
                row = {"step": view.number + 1, "request": request.text, "items": len(request.items), **spent}
                self.record.rounds.append({**row, "results": [vars(result) for result in results]})
                self.record.results = results
                self.folder.save()
            self._judge()
            self._save(learner)
            self.record.cost |= {"steps": learner.steps_done, "peak_memory_mb": peak_memory_mb()}
        return self.record

    # ---- one request -----------------------------------------------------------------------------------------

    def _before(self, view: View, request: Request, learner: ContinualLearner) -> list[Result]:
        """What is about to be forgotten, while it is known."""
        if request.kind == "learn":
            return []

        def compute() -> list[dict[str, Any]]:
            return self.probe.measure(learner.domain, view, ORIGINAL, self.oracles.at(view))

        return self._stage(f"before/{view.number}", compute)

    def _carry_out(self, view: View, request: Request, learner: ContinualLearner) -> Mapping[str, Any]:
        worked, before = time.process_time(), learner.steps_done
        with self.folder.phase("unlearn" if request.kind == "forget" else "learn"):
            apply(request, learner)
        spent = {"cpu_seconds": round(time.process_time() - worked, 2), "steps": learner.steps_done - before}
        kept: Mapping[str, Any] = self.folder.journal.stage(f"request/{view.number}", lambda: spent)
        self.folder.keep()
        return kept

    def _measure(self, view: View, learner: ContinualLearner) -> list[Result]:
        def compute() -> list[dict[str, Any]]:
            oracles = self.oracles.at(view)
            rows = self.probe.measure(learner.domain, view, UNLEARNED, oracles)
            return rows + (self.probe.measure_oracles(view, oracles) if oracles else [])

        return self._stage(f"measure/{view.number}", compute)

    def _stage(self, name: str, compute: Any) -> list[Result]:
        with self.folder.phase("evaluate"):
            return [Result(**row) for row in self.folder.journal.stage(name, compute)]

    def _right(self, number: int, model: NetworkDomain) -> np.ndarray:
        flags = self.folder.journal.stage(f"right/{number}", lambda: self.probe.right(model))
        return np.array([flag == "1" for flag in flags])

    def _over_time(self, view: View, right: Mapping[int, np.ndarray]) -> list[Result]:
        history = History(labels=self.probe.labels(), right=right, learnt=view.learnt)
        return history.measure(view.number, view.known_classes, UNLEARNED)

    # ---- the record ------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        prepared = self.prepared
        self.record.request = {
            "data": self.config.request.data or self.config.model.source,
            "tasks": [" ".join(map(str, own)) for own in prepared.tasks],
            "stream": [one.text for one in prepared.requests],
            "unlearn": "the learner's own loss" if prepared.unlearn is None else prepared.unlearn.name,
            "memory": prepared.learner.capacity,
            "test_items": len(prepared.test),
        }
        if not self.config.evaluate.oracles and self.views[-1].sets:
            self.record.notes.append("no oracle row: evaluate.oracles = 0")

    def _judge(self) -> None:
        """Say how the stream has ended, beside the oracle."""
        view, settings = self.views[-1], self.config.evaluate
        if not view.sets:
            self.record.outcome = "learnt"
            return
        if not settings.oracles:
            self.record.outcome = "trained"
            return
        requests = [(k, set_name(k, one)) for k, one in enumerate(self.prepared.requests) if one.kind == "forget"]
        unsure = [name for number, name in requests if not self._judge_at_once(number, name)]
        gaps = {name: self._gap(name) for name in (TEST, *view.sets)}
        told = [name for name in view.sets if gaps[name] > settings.tolerance]
        self.record.outcome = "not_forgotten" if told else "undecided" if unsure else "forgotten"
        for name in told:
            self._note(f"{name}: told more often than by the oracle, by {gaps[name]:.2f} of accuracy")
        levels = self._levels(self.record.results, TEST)
        if -gaps[TEST] > settings.max_retain_loss:
            self.record.outcome = COLLAPSED
            self._note(f"{COLLAPSED}: what is to be known is {-gaps[TEST]:.2f} of accuracy below the oracle")
        elif max(levels[UNLEARNED], levels[ORACLE]) < HALF:
            self.record.outcome = COLLAPSED
            self._note(
                f"{COLLAPSED}: of what is to be known the learner tells {levels[UNLEARNED]:.2f} and the oracle "
                f"{levels[ORACLE]:.2f}, both less than half"
            )

    def _judge_at_once(self, number: int, name: str) -> bool:
        """Say how a set was told right after its own request, whatever later requests have made of it.

        Returns:
            Whether that shows forgetting: the set was told before, more often than by the oracle, no longer after, and
            is no handful.
        """
        level = self._levels([Result(**row) for row in self.record.rounds[number]["results"]], name)
        tolerance, oracle = self.config.evaluate.tolerance, level[ORACLE]
        if (own := level[UNLEARNED]) - oracle > tolerance:
            self._note(
                f"right after request {name} the set was still told, with accuracy {own:.2f}, by the oracle with "
                f"{oracle:.2f}"
            )
            return False
        if (before := level[ORIGINAL]) - oracle <= tolerance:
            self._note(
                f"request {name} shows no forgetting: just before it the set was told with accuracy {before:.2f}, by "
                f"the oracle with {oracle:.2f}"
            )
            return False
        if (count := len(self.prepared.requests[number].ids)) < FEWEST:
            self._note(f"request {name} shows no forgetting: {count} items are too few to tell")
            return False
        return True

    def _gap(self, group: str) -> float:
        level = self._levels(self.record.results, group)
        return level[UNLEARNED] - level[ORACLE]

    @staticmethod
    def _levels(results: Sequence[Result], group: str) -> dict[str, float]:
        """Accuracy on a group by model."""
        return {one.target: one.value or 0.0 for one in results if (one.name, one.group) == ("accuracy", group)}

    def _save(self, learner: ContinualLearner) -> None:
        if self.folder.is_main:
            learner.domain.save(self.folder.path / MODEL)
            self.record.hashes["model"] = hash_files((self.folder.path / MODEL).glob("*.safetensors"))

    def _note(self, text: str) -> None:
        self.record.notes.append(text)
        self.watch.announce(text)


@dataclass
class Oracles:
    """Learners that go through the stream without what is forgotten, one a seed for each request to forget so far.

    They are taught when they are first asked for, and go on with each request that follows.
    """

    config: ContinualConfig
    prepared: Prepared
    state: Path
    watch: Watch
    _lines: dict[tuple[int, int], tuple[ContinualLearner, Sequence[Request | None]]] = field(default_factory=dict)
    _done: dict[tuple[int, int], int] = field(default_factory=dict)

    def at(self, view: View) -> tuple[NetworkDomain, ...]:
        """One network a seed, for what is forgotten after the request of `view`; none where nothing is."""
        if not view.forgotten:
            return ()
        return tuple(self._one(view, seed) for seed in range(1, self.config.evaluate.oracles + 1))

    def _one(self, view: View, number: int) -> NetworkDomain:
        generation = sum(one.kind == "forget" for one in self.prepared.requests[: view.number + 1])
        key = generation, number
        if key not in self._lines:
            self.watch.announce(f"teaching oracle {number} without what is forgotten by then")
            seed = self.config.seed + ORACLE_SEEDS * number
            state = self.state / f"oracle-{generation}-{number}"
            learner = new_learner(self.config, self.prepared, self.prepared.fresh(seed), seed, state, self.watch)
            forgotten = frozenset(item.id for item in view.forgotten)
            self._lines[key] = learner, without(self.prepared.requests, forgotten)
        learner, requests = self._lines[key]
        for request in requests[self._done.get(key, 0) : view.number + 1]:
            if request is None:
                learner.skip()
            else:
                apply(request, learner)
        self._done[key] = view.number + 1
        return learner.domain


def new_learner(
    config: ContinualConfig, prepared: Prepared, network: NetworkDomain, seed: int, state: Path, watch: Watch
) -> ContinualLearner:
    """The learner that a configuration asks for."""
    return ContinualLearner(
        network,
        method=prepared.learner,
        unlearn=prepared.unlearn,
        train=config.train,
        forget_train=config.forget_train,
        seed=seed,
        state=(state, watch),
    )


def apply(request: Request, learner: ContinualLearner) -> None:
    """Let a learner carry out one request."""
    if request.kind == "learn":
        learner.learn(request.items)
    else:
        learner.forget(ids=request.ids, data=request.items)


def environment(config: ContinualConfig) -> AbstractContextManager[None]:
    """For a lab's network as many threads as labs are built with: their number decides the order of float additions."""
    if not config.model.source.startswith(LAB):
        return nullcontext()
    from genunlearn.lab.determinism import fixed_threads

    return fixed_threads()
