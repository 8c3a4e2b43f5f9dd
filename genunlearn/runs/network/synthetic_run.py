"""One run on synthetic rows: how good they are, and whether they lie nearer to forgotten rows than chance has it.

Two tables are measured: one of a generator that learnt from all rows (``original``), and one of the same generator
that learnt anew without the forgotten ones (``unlearned``). Beside them stands one half of the held-out rows in the
place of a synthetic table (``reference``): what real rows of the same law would score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genunlearn.config.network import NetworkSyntheticConfig
from genunlearn.contracts import ORIGINAL, UNLEARNED
from genunlearn.data.tables import Table
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.ops.intervals import mean as mean_with_interval
from genunlearn.ops.intervals import over_seeds, share
from genunlearn.records import Result, RunRecord, hash_files, write_json, write_text
from genunlearn.registry import REPORTS
from genunlearn.registry.extras import remedy
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_generator
from genunlearn.runs.network.synthetic_data import SyntheticData, read_synthetic
from genunlearn.synthesis.base import Generator
from genunlearn.synthesis.given import Given
from genunlearn.synthesis.privacy import SAME, Distances, closeness, distances
from genunlearn.synthesis.quality import PACKAGE, is_installed, quality
from genunlearn.synthesis.tabsyndex import as_row, tabsyndex

REFERENCE = "reference"
DISTANCES = "distances.json"
Measured = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What a run works with."""

    generator: Generator
    data: SyntheticData
    given: Table | None


class SyntheticRun:
    """One run; what a draw was found to be is not measured again."""

    def __init__(
        self, config: NetworkSyntheticConfig, out: Path, *, resume: bool = False, watch: Watch | None = None
    ) -> None:
        """Check everything that can be checked before anything is learnt, then make the folder.

        Raises:
            InputError: Table, request or generator cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        made = prepare(config)
        self.generator, self.data, self.given = made.generator, made.data, made.given
        known = {"request": self.data.sha256}
        if isinstance(self.generator, Given):
            known["synthetic"] = hash_files([Path(self.generator.file)])
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data=known)

    @staticmethod
    def check(config: NetworkSyntheticConfig) -> str:
        """Check what needs no learning; says in a few words what the run would do."""
        made = prepare(config)
        counts = f"{int(made.data.forget.sum())} of {len(made.data.learnt)} rows to forget"
        return f"{made.generator.name} on {config.request.data}, {config.request.forget}: {counts}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded():
            self._describe()
            found = {ORIGINAL: self._draws(ORIGINAL, self.data.learnt)}
            if self.given is None:
                found[UNLEARNED] = self._draws(UNLEARNED, self.data.retained)
            for target, draws in found.items():
                self._quality(target, draws)
            self._quality(REFERENCE, self._reference())
            kept = {target: self._privacy(target, draws) for target, draws in found.items()}
            if self.folder.is_main:
                write_json(self.folder.path / DISTANCES, kept)
                if rows := found.get(UNLEARNED, [{}])[0].get("rows"):
                    table = self.data.learnt.having(np.array(rows, dtype=np.float64))
                    write_text(self.folder.path / "synthetic.csv", table.csv())
            self.record.cost |= {"peak_memory_mb": peak_memory_mb()}
            self.record.outcome = "measured"
        return self.record

    # ---- measurements ----------------------------------------------------------------------------------------

    def _draws(self, target: str, learnt: Table) -> list[Measured]:
        """What was found of each table of the generator that learnt from `learnt`."""
        count = 1 if self.given is not None else self.config.evaluate.draws
        found = []
        with self.folder.phase(f"generator, {target}"), self.watch.bar(f"{target} rows", count) as advance:
            for number in range(count):
                found.append(self._draw(target, learnt, number))
                advance()
        return found

    def _draw(self, target: str, learnt: Table, number: int) -> Measured:
        seed, keeps = self.config.seed + number, target == UNLEARNED and not number

        def compute() -> Measured:
            if self.given is not None:
                return self._measure(self.given, seed, keeps=False)
            return self._measure(self.generator.draw(learnt, len(self.data.retained), seed), seed, keeps=keeps)

        found: Measured = self.folder.journal.stage(f"{target}/{number}", compute)
        return found

    def _measure(self, fake: Table, seed: int, *, keeps: bool) -> Measured:
        data = self.data
        found = distances(fake, data.forgotten, data.control, data.learnt)
        measured = self._scores(data.retained, fake, data.held_out, seed)
        measured |= {"forgotten": found.forgotten.tolist(), "held_out": found.held_out.tolist()}
        return measured | ({"rows": fake.values.tolist()} if keeps else {})

    def _reference(self) -> list[Measured]:
        """The same of real rows: one half of the held-out ones as a synthetic table, judged on the other."""
        with self.folder.phase("held-out rows as a reference"):
            return [self._reference_draw(number) for number in range(self.config.evaluate.draws)]

    def _reference_draw(self, number: int) -> Measured:
        seed = self.config.seed + number
        order = np.random.default_rng((seed, 2)).permutation(len(self.data.held_out))
        fake, judged = (self.data.held_out.take(part) for part in np.array_split(order, 2))
        found: Measured = self.folder.journal.stage(
            f"{REFERENCE}/{number}", lambda: self._scores(self.data.retained, fake, judged, seed)
        )
        return found

    def _scores(self, real: Table, fake: Table, held_out: Table, seed: int) -> Measured:
        found: Measured = {"tabsyndex": dict(as_row(tabsyndex(real, fake, holdout=held_out, seed=seed)))}
        try:
            found["tabsyndex_published"] = dict(as_row(tabsyndex(real, fake, compat=True)))
        except DataError as error:
            found["why_not_published"] = str(error)
        if is_installed():
            found["sdmetrics"] = quality(real, fake)
        return found

    # ---- results ---------------------------------------------------------------------------------------------

    def _quality(self, target: str, draws: list[Measured]) -> None:
        """Scores and parts, with intervals over draws."""
        for name in ("tabsyndex", "tabsyndex_published", "sdmetrics"):
            rows = [draw[name] for draw in draws if name in draw]
            if len(rows) < len(draws):
                why = draws[0].get("why_not_published") if name != "sdmetrics" else None
                why = why or f"sdmetrics is not installed: {remedy(PACKAGE)}"
                self._add(Result(name=name, target=target, value=None, group="score", skipped=why))
                continue
            for part in rows[0]:
                known = [row[part] for row in rows if part in row]
                value, low, high = over_seeds(known)
                ends = (None, None) if low is None or high is None else (max(low, 0.0), min(high, 1.0))
                label = "score" if part == "quality" else part
                found = Result(name=name, target=target, value=value, low=ends[0], high=ends[1], n=len(known))
                self._add(replace(found, group=label, higher_is_better=True))

    def _privacy(self, target: str, draws: list[Measured]) -> Mapping[str, Any]:
        """How near forgotten and held-out rows are to the synthetic ones; mean distances over draws."""
        sides = {side: np.mean([draw[side] for draw in draws], axis=0) for side in ("forgotten", "held_out")}
        value, low, high = closeness(Distances(**sides), self.config.seed)
        count = len(sides["forgotten"])
        self._add(Result(name="closeness", target=target, value=value, low=low, high=high, n=count))
        for side, found in sides.items():
            group = side.replace("_", " ")
            value, low, high = mean_with_interval(found.tolist(), self.config.seed)
            self._add(
                Result(name="distance", target=target, value=value, low=low, high=high, n=len(found), group=group)
            )
            first = np.array(draws[0][side])  # a copy is of one table
            value, low, high = share(int((first <= SAME).sum()), len(first))
            self._add(Result(name="copied", target=target, value=value, low=low, high=high, n=len(first), group=group))
        return {side: found.tolist() for side, found in sides.items()}

    def _add(self, result: Result) -> None:
        self.record.results.append(result)

    def _describe(self) -> None:
        data, asked = self.data, self.config.request
        said: dict[str, Any] = {
            "data": asked.data,
            "target": data.learnt.columns[data.learnt.target].name,
            "forget": asked.forget,
            "columns": len(data.learnt.columns),
            "columns of categories": int(data.learnt.is_category.sum()),
            "rows to learn from": len(data.learnt),
            "rows to forget": int(data.forget.sum()),
            "held-out rows": len(data.held_out),
            "synthetic rows": len(data.retained) if self.given is None else len(self.given),
            "tables drawn": self.config.evaluate.draws if self.given is None else 1,
        }
        if len(data.control) < len(data.held_out):
            said["held-out rows of the forgotten kind"] = len(data.control)
        self.record.request = said
        if data.left_out:
            self.record.notes.append(f"{data.left_out:,} rows of the table were not used (request.limit)")


def prepare(config: NetworkSyntheticConfig) -> Prepared:
    """Generator and table of a configuration, checked; nothing is learnt.

    Raises:
        InputError: One of them cannot be used.
    """
    REPORTS.line(config.task, config.family)
    generator: Generator = build_generator(config.method)
    data = read_synthetic(config)
    return Prepared(generator, data, generator.read(data.learnt) if isinstance(generator, Given) else None)
