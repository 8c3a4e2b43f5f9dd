"""One valuation: values of items, clusters or requests, and what they are good for before and after unlearning."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genunlearn.config.network import NetworkValueConfig
from genunlearn.contracts import ORACLE, ORIGINAL
from genunlearn.data.network.items import Item
from genunlearn.engine.progress import Watch
from genunlearn.ops.intervals import mean as mean_with_interval
from genunlearn.records import Result, RunRecord, write_json, write_text
from genunlearn.registry import REPORTS
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_valuation
from genunlearn.runs.network.value_after import residual_values
from genunlearn.runs.network.value_data import BUNDLED, ValueData, read_data
from genunlearn.runs.network.value_learner import learner_of
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.benchmark import Order, curve, spread_over_kinds
from genunlearn.valuation.ecoval_style import clusters_of, kinds_of
from genunlearn.valuation.game import Floats, Game, Learner, Rows

VALUES = "values.json"
SHOWN = 8
"""Items of the lowest and of the highest values in the report."""
RANDOM_SUBSETS = 3
ORDERS: tuple[Order, ...] = ("high_first", "random", "low_first")


class ValueRun:
    """One valuation; trainings that are done are not done again."""

    def __init__(
        self, config: NetworkValueConfig, out: Path, *, resume: bool = False, watch: Watch | None = None
    ) -> None:
        """Check everything that can be checked before anything is taught, then make the folder.

        Raises:
            InputError: Data, requests, method or learner cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.valuer, self.data = prepare(config)
        known = {"request": self.data.sha256}
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data=known)

    @staticmethod
    def check(config: NetworkValueConfig) -> str:
        """Check what needs no training; says in a few words what the run would do."""
        valuer, data = prepare(config)
        asked = f"; requests: {', '.join(data.requests)}" if data.requests else ""
        return f"{valuer.name} of {len(data.train)} items for {config.model.source}{asked}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the valuation out and return its record."""
        with self.folder.guarded():
            self._describe()
            values, measured = self._game(self.data.valid), self._game(self.data.test)
            with self.folder.phase("value"):
                found = self._value(values)
            rows = found.parts.get("rows", np.zeros(0))
            kept: dict[str, Any] = {"values": found.values.tolist(), "requests": self._players_asked()}
            with self.folder.phase("requests"):
                self._requests(rows, measured)
            with self.folder.phase("curves"):
                kept["removal"] = self._removal(measured, found.values)
                kept["repair"] = self._repair(measured, rows)
            if self.config.request.unlearned is not None:
                with self.folder.phase("after unlearning"):
                    self.record.results += residual_values(self.config, self.data, self.watch)
            self._write(found, kept)
            self.record.cost |= {
                "trainings": {"values": values.trainings, "measurements": measured.trainings},
                "peak_memory_mb": peak_memory_mb(),
            }
            self.record.outcome = "valued"
        return self.record

    # ---- values ----------------------------------------------------------------------------------------------

    def _value(self, game: Game) -> Values:
        """The method's values, with those of single items among the parts, where they can be told."""
        found = self.valuer.value(game)
        rows = np.zeros(len(self.data.train))
        for players, value in zip(game.players, found.values, strict=True):
            rows[players] = value / len(players)
        said = {"method": self.valuer.name, "trainings": game.trainings, "is_utility": self.valuer.is_utility}
        self.record.rounds.append(said | {name: round(float(note), 6) for name, note in found.notes.items()})
        return Values(**{**vars(found), "parts": {**found.parts, "rows": rows}})

    def _game(self, judged: Sequence[Item]) -> Game:
        learner, level = learner_of(self.config, self.data, judged), self.config.request.level
        players: list[Rows] | None = None
        base = None
        if level == "requests":
            players = list(self.data.requests.values())
            base = np.setdiff1d(np.arange(len(self.data.train)), np.concatenate(players))
        elif level == "clusters":
            cluster_of = _clusters(learner)
            players = [(cluster_of == number).nonzero()[0] for number in range(int(cluster_of.max()) + 1)]
        return Game(learner, self.folder.journal, players=players, base=base, score=self.config.evaluate.score)

    def _players_asked(self) -> dict[str, list[int]]:
        """Which players each request holds, where items are players."""
        if self.config.request.level != "items":
            return {}
        return {name: rows.tolist() for name, rows in self.data.requests.items()}

    # ---- what values are good for ----------------------------------------------------------------------------

    def _requests(self, rows: Floats, game: Game) -> None:
        """What each request is worth, and what is lost on unseen items when it goes."""
        everything = np.arange(len(self.data.train))
        whole = game.scores(everything)
        self._add("score", ORIGINAL, "all items", mean_with_interval(whole.tolist()), len(whole))
        for name, own in self.data.requests.items():
            value = float(rows[own].sum())
            self.record.results.append(
                Result(name="value", target=self.valuer.name, value=value, n=len(own), group=name)
            )
            lost = whole - game.scores(np.setdiff1d(everything, own))
            self._add("cost", ORACLE, name, mean_with_interval(lost.tolist()), len(lost))

    def _removal(self, game: Game, values: Floats) -> dict[str, Any]:
        points = self.config.evaluate.curves
        if not points or len(game) < 2:
            return {}
        shares = np.linspace(0, 1, points + 2)[:-1]
        with self.watch.bar("removal", len(ORDERS)) as advance:
            found: dict[str, Any] = {"shares": shares.round(4).tolist()}
            for order in ORDERS:
                found[order] = curve(game, values, shares, order, seed=self.config.seed).tolist()
                advance()
        return found

    def _repair(self, game: Game, rows: Floats) -> dict[str, Any]:
        """By request how good subsets of the retain data are, and the rows of the smallest that is enough."""
        found: dict[str, Any] = {}
        shares, tolerance = self.config.evaluate.repair, self.config.evaluate.repair_tolerance
        if self.config.request.level == "requests" or not shares or not self.data.requests:
            return found  # of requests as players nothing is known of the items that would stay
        cluster_of = _clusters(game.learner)
        for name, own in self.data.requests.items():
            retain = np.setdiff1d(np.arange(len(rows)), own)
            order = retain[spread_over_kinds(rows[retain], cluster_of[retain])]
            aim, valued, chance, enough = game.earn(retain), [], [], None
            for share in shares:
                count = max(1, round(share * len(retain)))
                draws = [
                    np.random.default_rng((self.config.seed, k)).permutation(retain) for k in range(RANDOM_SUBSETS)
                ]
                tried = [np.sort(rows_in[:count]) for rows_in in (order, *draws)]
                scores = [game.earn(one) for one in tried]
                valued.append(scores[0])
                chance.append(float(np.mean(scores[1:])))
                best = int(np.argmax(scores))
                if enough is None and scores[best] >= aim - tolerance:
                    chosen_by = "random" if best else "valued"
                    enough = {"enough": share, "chosen": chosen_by, "rows": tried[best].tolist()}
            found[name] = {"shares": list(shares), "valued": valued, "random": chance, "all": aim, **(enough or {})}
            if enough is not None:
                text = "".join(f"{row}\n" for row in enough["rows"])
                write_text(self.folder.path / "repair" / f"{len(found)}.txt", text)
        return found

    # ---- what is written -------------------------------------------------------------------------------------

    def _add(self, name: str, target: str, group: str, estimate: tuple[float, float, float], n: int) -> None:
        value, low, high = estimate
        self.record.results.append(Result(name=name, target=target, value=value, low=low, high=high, n=n, group=group))

    def _describe(self) -> None:
        said: dict[str, Any] = {
            "data": self.config.request.data or self.config.model.source,
            "players": self.config.request.level,
            "requests": list(self.data.requests),
            "training_items": len(self.data.train),
            "validation_items": len(self.data.valid),
            "test_items": len(self.data.test),
            "score": self.config.evaluate.score if not self.data.is_regression else "1 - error / spread",
            "unlearned": self.config.request.unlearned,
        }
        self.record.request = said

    def _write(self, found: Values, kept: Mapping[str, Any]) -> None:
        if not self.folder.is_main:
            return
        rows = found.parts["rows"]
        self._show_items(rows)
        write_json(self.folder.path / VALUES, dict(kept))
        asked = {name: set(own.tolist()) for name, own in self.data.requests.items()}
        columns = {name: part for name, part in found.parts.items() if name != "rows"} | dict(found.groups)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["row", "id", "target", "value", *columns, "requests"])
        for row, item in enumerate(self.data.train):
            mine = " ".join(name for name, own in asked.items() if row in own)
            numbers = [f"{column[row]:.8g}" for column in columns.values()]
            writer.writerow([row, item.id, item.target.item(), f"{rows[row]:.8g}", *numbers, mine])
        write_text(self.folder.path / "values.csv", table.getvalue())

    def _show_items(self, rows: Floats) -> None:
        """The items of the lowest and the highest values, as pictures where they are some."""
        if self.config.request.level != "items":
            return
        order = rows.argsort(kind="stable")
        for group, chosen in (("lowest", order[:SHOWN]), ("highest", order[::-1][:SHOWN])):
            for number, row in enumerate(chosen.tolist()):
                item = self.data.train[row]
                path = self._paint(item, f"{group}-{number}")
                said = {"item": item.id, "target": f"{item.target.item():g}", "value": float(rows[row])}
                self.record.examples.append({"group": group, "number": number, **said, "picture": path})

    def _paint(self, item: Item, name: str) -> str | None:
        from genunlearn.ops.images import stretched, write_png

        pixels = item.inputs.get("x")
        if pixels is None or pixels.dim() != 3 or pixels.shape[0] not in (1, 3):
            return None
        path = Path("images") / f"{name}.png"
        write_png(stretched(pixels), self.folder.path / path, zoom=max(1, 32 // pixels.shape[-1]))
        return path.as_posix()


def _clusters(learner: Learner) -> Rows:
    """A cluster for each item, within its class, as many as the root of their number."""
    points = learner.embed()[0]
    return clusters_of(points, kinds_of(learner), round(len(points) ** 0.5))


def prepare(config: NetworkValueConfig) -> tuple[Valuer, ValueData]:
    """The method and the data of a configuration, checked against each other; nothing is taught.

    Raises:
        InputError: One of them cannot be used.
    """
    from genunlearn.runs.network.value_after import check_unlearned

    REPORTS.line(config.task, config.family)
    valuer: Valuer = build_valuation(config.method, seed=config.seed)
    data = read_data(config, encode_of(config))
    learner = learner_of(config, data, data.valid)
    valuer.check(learner.classes)
    if config.request.unlearned is not None:
        check_unlearned(config.request.unlearned)
    return valuer, data


def encode_of(config: NetworkValueConfig) -> Any:
    """What turns texts and images of a folder into tensors: the processor of a network from a folder or the hub."""
    from functools import partial

    from genunlearn.domains.network.hub import check_folder, encode_value, load_processor
    from genunlearn.domains.sources import resolve_folder
    from genunlearn.registry import LAB

    source = config.model.source
    if source.startswith((LAB, BUNDLED)):
        return None
    folder = resolve_folder(source, config.model.revision)
    check_folder(folder, is_regression=config.domain == "regression")
    processor = load_processor(folder)
    return None if processor is None else partial(encode_value, processor)
