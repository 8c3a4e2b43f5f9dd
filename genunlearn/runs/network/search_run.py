"""One search as a run: find a cell, teach its network, then unlearn by a few steps and by retraining, and compare."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from genunlearn.backbones.cells import Genotype, random_genotype
from genunlearn.backbones.cost import count_multiply_adds, count_weights, training_multiply_adds
from genunlearn.backbones.darts import LONGEST, forget_gap
from genunlearn.backbones.networks import FoundNetwork, SearchNetwork
from genunlearn.backbones.search import Search, SearchSettings
from genunlearn.config.search import NetworkSearchConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.data.network.items import Item
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.engine.checkpoints import Checkpoints, Position
from genunlearn.engine.progress import Watch
from genunlearn.ops.images import stretched, write_png
from genunlearn.ops.intervals import share
from genunlearn.records import Result, RunRecord, replacing, write_json
from genunlearn.registry import REPORTS
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.network.search_data import SearchData, read_search_data

CELL, WEIGHTS = "cell.json", "network.safetensors"
SHOWN = 6
"""Pictures of the data in the report."""


class SearchRun:
    """One search; epochs and trainings that are done are not done again."""

    def __init__(
        self, config: NetworkSearchConfig, out: Path, *, resume: bool = False, watch: Watch | None = None
    ) -> None:
        """Check the data, then make the folder.

        Raises:
            InputError: The data or the forget set cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.data = _prepare(config)
        known = {"request": self.data.sha256}
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data=known)

    @staticmethod
    def check(config: NetworkSearchConfig) -> str:
        """Check what needs no training; says in a few words what the run would do."""
        data = _prepare(config)
        return f"{config.search.order} order search on {len(data.train)} pictures, forgetting {config.request.forget}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the search out and return its record."""
        with self.folder.guarded():
            self._describe()
            with self.folder.phase("search"):
                found = self._search()
            write_json(self.folder.path / CELL, found.plain())
            self._measure(found)
            self.record.cost["peak_memory_mb"] = peak_memory_mb()
            self.record.outcome = "found"
        return self.record

    # ---- the cell --------------------------------------------------------------------------------------------

    def _search(self) -> Genotype:
        asked = self.config.search
        if asked.order == "random":
            return random_genotype(asked.nodes, self.config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = SearchNetwork(
                self.data.shape[0], self.data.classes, cells=asked.cells, channels=asked.channels, nodes=asked.nodes
            )
        search = Search(network, self.data.halves(self.config.seed), _settings(self.config), seed=self.config.seed)
        saved = Checkpoints(self.folder.state, "search")
        history = self._taken_up(search, saved)
        with self.watch.bar("search", asked.epochs) as advance:
            advance(len(history))
            for number in range(len(history), asked.epochs):
                start = time.perf_counter()
                history.append(search.epoch(number))
                history[-1]["seconds"] = time.perf_counter() - start
                position = Position(0, number + 1, number + 1 == asked.epochs, history)
                saved.save(position, dict(network.named_parameters()), search.optimizers)
                advance()
        for number, row in enumerate(history, start=1):
            noted = {name: round(value, 6) for name, value in row.items() if name != "seconds"}
            self.record.rounds.append({"round": number, **noted})
        self.record.cost["search"] = {"seconds": round(sum(row["seconds"] for row in history), 3)}
        return search.genotype()

    @staticmethod
    def _taken_up(search: Search, saved: Checkpoints) -> list[dict[str, float]]:
        position = saved.position()
        if position is None:
            return []
        saved.restore(search.network, search.optimizers)
        return position.history

    # ---- its network -----------------------------------------------------------------------------------------

    def _measure(self, found: Genotype) -> None:
        """Teach the network with and without the forget set, unlearn by steps, and measure all three."""
        network = self._fresh(found)
        once = count_multiply_adds(network, self.data.shape)
        self.record.cost["network"] = {"weights": count_weights(network), "multiply_adds": once}
        places = {name: self.folder.state / f"{name}.safetensors" for name in (ORIGINAL, ORACLE)}
        for name, items in {ORIGINAL: self.data.train, ORACLE: self.data.retain}.items():
            self._stage(name, partial(self._teach, found, items, places[name]))
            work = training_multiply_adds(once, len(items), self.config.retrain.epochs)
            self.record.cost[name]["multiply_adds"] = work
        self._stage(UNLEARNED, lambda: self._unlearn(found, places[ORIGINAL]))
        seen = sum(map(len, self._unlearning_items()))
        steps = self.config.unlearn.steps
        self.record.cost[UNLEARNED]["multiply_adds"] = training_multiply_adds(once, seen, steps)
        with replacing(self.folder.path / WEIGHTS) as temporary:
            temporary.write_bytes(places[ORIGINAL].read_bytes())

    def _stage(self, target: str, make: Callable[[], Classifier]) -> None:
        """Make a network, ask it about every item, and note what that cost; once, however often the run is killed."""

        def carry_out() -> dict[str, Any]:
            with self.folder.phase(target):
                start = time.perf_counter()
                network = make()
                seconds = time.perf_counter() - start
                sides = self.data.sides.items()
                return {"seconds": round(seconds, 3), "right": {name: _right(network, side) for name, side in sides}}

        kept = self.folder.journal.stage(target, carry_out)
        self.record.cost[target] = {"seconds": kept["seconds"]}
        for group, right in kept["right"].items():
            value, low, high = share(sum(right), len(right))
            self.record.results.append(
                Result(name="accuracy", target=target, value=value, low=low, high=high, n=len(right), group=group)
            )

    def _fresh(self, found: Genotype) -> FoundNetwork:
        asked = self.config.search
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return FoundNetwork(
                found, self.data.shape[0], self.data.classes, cells=asked.cells, channels=asked.channels
            )

    def _teach(self, found: Genotype, items: Sequence[Item], place: Path) -> Classifier:
        asked = self.config.retrain
        settings = FitConfig(
            epochs=asked.epochs,
            learning_rate=asked.learning_rate,
            batch_size=asked.batch_size,
            weight_decay=asked.weight_decay,
        )
        domain = Classifier(self._fresh(found), learns_statistics=True)
        fit(domain, items, settings, seed=self.config.seed)
        with replacing(place) as temporary:
            save_file({name: part.contiguous() for name, part in domain.module.state_dict().items()}, temporary)
        return domain

    def _unlearning_items(self) -> tuple[list[Item], list[Item]]:
        """Forget items of the steps and as many retain items; every step takes them all."""
        forget, retain = self.data.sides["forget"], self.data.retain
        count = min(len(forget), len(retain), self.config.retrain.batch_size)
        order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(self.config.seed))
        return forget[:count], [retain[row] for row in order[:count].tolist()]

    def _unlearn(self, found: Genotype, place: Path) -> Classifier:
        """The steps of the search's term on the network that was taught, BatchNorm's statistics as they are."""
        network = self._fresh(found)
        network.load_state_dict(load_file(place))
        domain = Classifier(network.eval())
        forget, retain = (domain.collate(items) for items in self._unlearning_items())
        optimizer = torch.optim.SGD(network.parameters(), lr=self.config.unlearn.learning_rate)
        for _ in range(self.config.unlearn.steps):
            optimizer.zero_grad()
            losses = domain.example_loss(retain), domain.example_loss(forget)
            forget_gap(*losses, math.log(self.data.classes)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST)
            optimizer.step()
        return domain

    # ---- what is written -------------------------------------------------------------------------------------

    def _describe(self) -> None:
        asked, data = self.config.request, self.data
        self.record.request = {
            "data": asked.data,
            "forget": asked.forget,
            "forget_items": int(data.is_forget.sum()),
            "training_items": len(data.train),
            "test_items": len(data.test),
            "classes_number": data.classes,
            "picture": " x ".join(map(str, data.shape)),
            "unlearning_steps": self.config.unlearn.steps,
        }
        for number, item in enumerate(data.train[:SHOWN]):
            pixels, path = item.inputs["x"], f"images/item-{number}.png"
            if pixels.shape[0] in (1, 3):
                write_png(stretched(pixels), self.folder.path / path, zoom=max(1, 32 // pixels.shape[-1]))
                self.record.examples.append(
                    {"group": "pictures", "item": item.id, "target": str(int(item.target)), "picture": path}
                )


def _settings(config: NetworkSearchConfig) -> SearchSettings:
    asked = config.search
    return SearchSettings(
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        rate=asked.learning_rate,
        least_rate=asked.learning_rate / 25,
        alpha_rate=asked.alpha_learning_rate,
        is_second_order=asked.order == "second",
        forgettability=asked.forgettability,
        unlearning_steps=config.unlearn.steps,
        unlearning_rate=config.unlearn.learning_rate,
    )


def _right(network: Classifier, items: Sequence[Item]) -> list[int]:
    """Of each item whether its class is the likeliest."""
    guesses = network.predict(items).argmax(1)
    return [int(guess == int(item.target)) for guess, item in zip(guesses.tolist(), items, strict=True)]


def _prepare(config: NetworkSearchConfig) -> SearchData:
    REPORTS.line(config.task, config.family)
    return read_search_data(config)
