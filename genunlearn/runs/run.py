"""One run of one method on one request, for every family: open, measure, unlearn, measure again, write down.

Each step can be resumed: training from its checkpoints, every other one from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from genunlearn.config import UnlearnConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED, Attack, Beside, Journal, Method, Outcome, Splits
from genunlearn.contracts.family import Family, Measurement
from genunlearn.domains.sharding import gathered, part
from genunlearn.engine import parameters
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import BrokenModel, ConfigError, DataError, NonFiniteLoss
from genunlearn.processes import of_all
from genunlearn.records import Result, RunRecord
from genunlearn.registry import FAMILIES, REPORTS, SUITES
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_attacks, build_method
from genunlearn.runs.requirements import check_requirements
from genunlearn.runs.unlearning import COLLAPSED, Stop, carry_out, unlearn_in, work_done

CONTROLS = "controls"
"""Part of a measurement of network runs begun before attacks had stages of their own: it holds their results too."""


class Run:
    """One run; see the module."""

    def __init__(self, config: UnlearnConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: The method, the request or a model cannot be used; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.family, self.method, self.request, self.attacks = prepare(config, self.watch)
        asked = self.family.sha256(self.request)
        known = {} if asked is None else {"asked": asked}
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch, data=known)
        self._is_resumed = resume and not self.folder.is_disposable
        self.beside: Beside[Any] = Beside(
            lambda: self.family.open(self.request),
            None if self._why_no_oracle else self._open_oracles,
            why_no_oracle=self._why_no_oracle or "",
            folder=self.folder.path,
        )

    @staticmethod
    def check(config: UnlearnConfig) -> str:
        """Check what needs no weights; says in a few words what the run would do."""
        family, method, request, _ = prepare(config, Watch(is_shown=False))
        return f"{method.name} on {config.model.source}, {family.summary(request)}"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded(), self.family.environment(self.request):
            model = self.open()
            self.measure_original(model)
            attacked = [*self._attack(ORIGINAL, model), *self._control()]
            outcome = self._unlearn(model)
            self._judge_telling(self._measure(UNLEARNED, model))
            self._judge_damage(model)
            self._save(model, outcome)
            attacked += self._attack(UNLEARNED, model)
            if not self._why_no_oracle:
                self._measure_oracles()
            self._write_down(model, attacked)
        return self.record

    # ---- before anything is changed --------------------------------------------------------------------------

    def open(self) -> Any:
        """The model that is to forget; the request learns from it what only the model can say."""
        with self.folder.phase("load"):
            self.watch.announce(f"loading {self.config.model.source}")
            model = self.family.open(self.request)
            self.folder.describe_model(model.network)
            parameters.check(model, self.family.trained(self.method))
            self.method.check_model(model)
        with self.folder.phase("neighbours"):
            self.request = self.family.surround(self.request, model, self._before)
        self.method.check(self.family.domain, **self.family.given(self.request))
        return model

    def measure_original(self, model: Any) -> None:
        """Measure the model as it is, and refuse what it does not know to begin with."""
        unknown = self.family.unknown(self.request, self._measure(ORIGINAL, model, self._before))
        if unknown and not self.config.request.force:
            raise DataError(
                f"{', '.join(unknown)}: the model does not know this to begin with, so there is nothing to forget; "
                "request.force = true goes on all the same"
            )
        self.record.request, hashes = self.family.describe(self.request, model)
        self.record.hashes |= hashes

    @cached_property
    def _before(self) -> Journal:
        """What is found of the original and the oracles: shared with other runs, or the run's own."""
        shared = self.family.controls(self.request)
        return FileJournal(shared, self.watch) if shared else self.folder.journal

    @property
    def _why_no_oracle(self) -> str | None:
        return self.family.why_no_oracle(self.request)

    def _open_oracles(self) -> Sequence[Any]:
        with self.folder.phase("oracle"):
            self.watch.announce("opening the oracles (the lab trains those that are not cached)")
            oracles = self.family.oracles(self.request)
            if seconds := self.family.retraining_seconds(self.request):
                self.record.cost["retraining_cpu_seconds"] = round(seconds, 2)
            return oracles

    # ---- measurements and attacks ----------------------------------------------------------------------------

    def _measure(self, target: str, model: Any, journal: Journal | None = None) -> Measurement:
        self.watch.announce(f"measuring the {target} model")
        with self.folder.phase("evaluate"):
            self.beside.measured[target] = (journal or self.folder.journal).stage(
                f"evaluate/{target}", lambda: self.family.measure(model, self.request, target, self.beside)
            )
        return self.beside.measured[target]

    def _measure_oracles(self) -> None:
        self.watch.announce("measuring the oracle")
        with self.folder.phase("evaluate"):
            self.beside.measured[ORACLE] = self._before.stage(
                f"evaluate/{ORACLE}", lambda: self.family.measure_oracles(self.request, self.beside)
            )

    def _attack(self, target: str, model: Any) -> list[Result]:
        """Results of every attack on one model; none where its measurement holds them."""
        if CONTROLS in self.beside.measured[target]:
            return []
        return self._by_attack(target, lambda attack, splits: attack.run(model, splits, target, self.beside))

    def _control(self) -> list[Result]:
        """Results of every attack on the oracles."""
        if CONTROLS in (before := self.beside.measured[ORIGINAL]):
            return [Result(**row) for row in before[CONTROLS]]
        return self._by_attack(ORACLE, lambda attack, splits: attack.control(splits, self.beside))

    def _by_attack(self, target: str, run: Any) -> list[Result]:
        results: list[Result] = []
        with self.folder.phase("attacks"):
            for attack in self.attacks:
                self.watch.announce(f"attack {attack.name}: {target} model")

                def compute(attack: Attack[Any] = attack) -> list[dict[str, Any]]:
                    return [asdict(found) for splits in self._attacked for found in run(attack, splits)]

                rows = self.folder.journal.stage(f"attack/{attack.name}/{target}", compute)
                results += [Result(**row) for row in rows]
        return results

    @property
    def _attacked(self) -> Sequence[Splits[Any]]:
        return self.beside.once("attacked", lambda: self.family.attacked(self.request, self.beside))

    # ---- unlearning ------------------------------------------------------------------------------------------

    def _unlearn(self, model: Any) -> Outcome:
        settings, family, request = self.config.train, self.family, self.request
        stop = None
        if settings.stop_recall is not None:
            recall, utility = partial(family.recall, model, request), partial(family.utility, model, request)
            stop = Stop(settings.stop_recall, recall, settings.utility_floor, utility)

        def work(trainer: Trainer) -> Outcome:
            splits = family.splits(request, model, self.method)
            return carry_out(self.method, trainer, splits, self.folder.journal, seed=self.config.seed, stop=stop)

        outcome = unlearn_in(self.folder, self.config, model, self.family.trained(self.method), work)
        model.module.eval()
        parts = [part(weight) for weight in model.network.parameters() if weight.is_floating_point()]
        if not all(of_all(all(part.isfinite().all() for part in parts))):
            raise NonFiniteLoss(
                f"method {self.method.name!r} has left weights that are not finite numbers: weaken it, for instance by "
                "a lower train.learning_rate"
            )
        return outcome

    def _judge_telling(self, measured: Measurement) -> None:
        """Take back what the method says of itself where the measurement says otherwise."""
        if self.record.outcome == "forgotten" and (told := self.family.still_told(measured)):
            self.record.outcome = "not_forgotten"
            self._note(f"still told: {told}")

    def _judge_damage(self, model: Any) -> None:
        """Call a ruined model so; one that does not work at all is not saved."""
        try:
            damage = self.family.damage(self.request, model, self.beside)
        except BrokenModel:
            self.record.outcome = "broken"
            self._collect([])
            raise
        if damage is not None:
            self.record.outcome = COLLAPSED
            self._note(f"{COLLAPSED}: {damage}")

    def _save(self, model: Any, outcome: Outcome) -> None:
        with gathered(model.network):
            if not self.folder.is_main:
                return
            self.folder.keep()
            written = self.family.save(model, self.method, outcome, self.folder.path)
            self.record.hashes |= written.hashes
            if written.note:
                self.record.notes.append(written.note)

    # ---- the record ------------------------------------------------------------------------------------------

    def _write_down(self, model: Any, attacked: Sequence[Result]) -> None:
        if reason := self._why_no_oracle:
            self.record.notes.append(f"no oracle row: {reason}")
        self._collect(attacked)
        if self.folder.is_main:
            self.family.finish(self.request, self.beside.measured, self.folder.path)
        self.record.cost |= {**work_done(model), "peak_memory_mb": peak_memory_mb()}
        self._compare_with_retraining()
        if self.attacks and self.folder.is_main:
            models = {ORIGINAL: self.beside.original, UNLEARNED: model}
            models |= {ORACLE: self.beside.oracles[0]} if self.beside.oracles else {}
            self.record.examples += self.family.illustrate(self.attacks, models, self._attacked, self.folder.path)

    def _collect(self, attacked: Sequence[Result]) -> None:
        """Put numbers and examples into the record."""
        measured: Mapping[str, Measurement] = self.beside.measured
        self.record.results = [Result(**row) for one in measured.values() for row in one["results"]] + list(attacked)
        if reason := self._why_no_oracle:
            name = self.family.main_metric
            self.record.results.append(Result(name=name, target=ORACLE, value=None, skipped=reason))
        self.record.examples = self.family.examples(self.request, measured)
        self.record.request["attacks"] = {attack.name: attack.budget for attack in self.attacks}

    def _compare_with_retraining(self) -> None:
        cost = self.record.cost
        seconds, retraining = cost["unlearning_cpu_seconds"], cost.get("retraining_cpu_seconds")
        if self._is_resumed:
            self._note("resumed: the time of unlearning is not whole, so no speed-up is given")
        elif retraining and seconds:
            cost["speed_up_over_retraining"] = round(retraining / seconds, 2)

    def _note(self, text: str) -> None:
        self.record.notes.append(text)
        self.watch.announce(text)


def prepare(config: UnlearnConfig, watch: Watch) -> tuple[Family[Any, Any], Method, Any, tuple[Attack[Any], ...]]:
    """Family, method, request and attacks of a configuration, checked against each other without weights.

    Raises:
        InputError: One of them cannot be used.
    """
    check_requirements(config)
    family: Family[Any, Any] = FAMILIES.get(config.protocol)(config, watch)
    REPORTS.line(config.task, config.family)  # without one the run would end with nothing to show
    method = build_method(config.method, seed=config.seed, family=config.family)
    if config.evaluate.suite != "auto":
        SUITES.line(config.evaluate.suite, config.family)
    attacks = build_attacks(config, family.usual_attacks)
    request = family.request(method)
    method.check(family.domain, **family.given(request))
    if config.train.stop_recall is not None and (reason := family.cannot_stop(request)):
        raise ConfigError(f"train.stop_recall = {config.train.stop_recall}: {reason}; leave it out")
    if config.train.utility_floor is not None and (reason := family.has_no_floor(request)):
        raise ConfigError(f"train.utility_floor = {config.train.utility_floor}: {reason}; leave it out")
    return family, method, request, attacks
