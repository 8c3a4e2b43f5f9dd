"""A run on a classifier or regressor: load, look, unlearn, look again, write down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from genunlearn.attacks.network.base import Company
from genunlearn.attacks.network.inversion import ModelInversion
from genunlearn.config import ItemConfig
from genunlearn.contracts import Method, Outcome, Splits
from genunlearn.data.network.items import targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine import parameters
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, NonFiniteLoss
from genunlearn.records import Result, RunRecord, hash_files, write_json
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.methods import build_method
from genunlearn.runs.network.guard import inspect
from genunlearn.runs.network.measure import RATES, Look, Observer, build_attacks
from genunlearn.runs.network.pictures import paint_classes
from genunlearn.runs.network.request import (
    ItemRequest,
    base_hash,
    open_oracles,
    open_original,
    read_request,
    why_no_oracle,
)
from genunlearn.runs.unlearning import COLLAPSED, carry_out, unlearn_in

CURVES = "curves.json"
ORIGINAL, UNLEARNED, ORACLE = "original", "unlearned", "oracle"


class ItemRun:
    """One run of one method on one request; each step can be resumed."""

    def __init__(self, config: ItemConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: See the functions that are called here; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.method, self.request = _checked(config)
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch)
        self._is_resumed = resume and not self.folder.is_disposable

    @staticmethod
    def check(config: ItemConfig) -> str:
        """Check what needs no weights; says in a few words what the run would do."""
        method, request = _checked(config)
        forget = "the hardest" if request.marked is None else f"{int(request.marked.sum())}"
        size = len(request.train)
        return f"{method.name} on {config.model.source}, {request.name}: {forget} of {size} items to forget"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded(), self._threads():
            original, model = self._open()
            oracles = self._open_oracles()
            splits = self._splits(original, oracles)
            observer = Observer(self.config, self.request.measured(), splits, oracles)
            looks = {ORIGINAL: self._look(observer, original, ORIGINAL)}
            self._describe(splits, observer)
            self._unlearn(model, splits)
            self._save(model)
            looks[UNLEARNED] = self._look(observer, model, UNLEARNED)
            if oracles:
                looks[ORACLE] = self._look_at_oracles(observer)
            self._paint({ORIGINAL: original, UNLEARNED: model} | ({ORACLE: oracles[0]} if oracles else {}), splits)
            self._inspect(original, model, splits)
            self._write_down(looks, splits)
        return self.record

    # ---- steps ---------------------------------------------------------------------------------------------

    def _threads(self) -> AbstractContextManager[None]:
        """As many threads as the lab was built with: their number decides the order of float additions."""
        if self.request.study is None:
            return nullcontext()
        from genunlearn.lab.network.study import fixed_threads

        return fixed_threads()

    def _open(self) -> tuple[NetworkDomain, NetworkDomain]:
        """The model twice: as it stays, for comparison, and to be changed."""
        with self.folder.phase("load"):
            self.watch.announce(f"loading {self.config.model.source}")
            original = open_original(self.config, self.request)
            self.request = self.request.ask(original)
            is_whole = self.request.is_whole
            self.method.check(self.config.domain, retain=self._gives_retain, oracle=True, whole_classes=is_whole)
            return original, open_original(self.config, self.request)

    @property
    def _gives_retain(self) -> bool:
        return self.config.request.retain == "all" and self.request.has_retain

    def _open_oracles(self) -> tuple[NetworkDomain, ...]:
        with self.folder.phase("oracle"):
            if reason := why_no_oracle(self.config, self.request):
                self._note(f"no oracle row: {reason}")
                return ()
            self.watch.announce("opening the oracles (the lab trains those that are not cached)")
            oracles, seconds = open_oracles(self.config, self.request)
            if seconds:
                self.record.cost["retraining_cpu_seconds"] = round(fmean(seconds), 2)
            return oracles

    def _splits(self, original: NetworkDomain, oracles: tuple[NetworkDomain, ...]) -> Splits:
        company = Company(test=self.request.test, original=original, oracles=oracles)
        return replace(self.request.splits(), context=company)

    def _look(self, observer: Observer, model: NetworkDomain, target: str) -> Look:
        self.watch.announce(f"measuring the {target} model")
        with self.folder.phase("evaluate"):
            return self.folder.journal.stage(f"evaluate/{target}", lambda: observer.look(model, target))

    def _look_at_oracles(self, observer: Observer) -> Look:
        with self.folder.phase("evaluate"):
            return self.folder.journal.stage(f"evaluate/{ORACLE}", observer.look_at_oracles)

    def _describe(self, splits: Splits, observer: Observer) -> None:
        self.record.hashes |= {"base": base_hash(self.config, self.request), "request": self.request.sha256}
        self.record.request = {
            "model": self.config.model.source,
            "forget": self.request.name,
            "forget_items": len(splits.forget),
            "retain_items": len(splits.retain or ()),
            "test_items": len(self.request.test),
            "attacks": observer.budgets(),
        }

    def _unlearn(self, model: NetworkDomain, splits: Splits) -> None:
        given = splits if self._gives_retain else replace(splits, retain=None)
        worked = time.process_time()  # beside the clock, which also counts what else the machine does
        unlearn_in(
            self.folder,
            self.config,
            model,
            self.config.parameters,
            lambda trainer: self._carry_out(trainer, model, given),
        )
        model.module.eval()
        self.record.cost["unlearning_cpu_seconds"] = round(time.process_time() - worked, 3)
        if not model.predict(splits.forget).isfinite().all():
            raise NonFiniteLoss(
                f"method {self.method.name!r} has left weights whose answers are not finite numbers: weaken it, for "
                "instance by a lower train.learning_rate"
            )

    def _carry_out(self, trainer: Trainer, model: NetworkDomain, splits: Splits) -> Outcome:
        level = self.config.train.stop_recall

        def is_forgotten() -> bool:
            right = model.predict(splits.forget).argmax(1) == targets_of(splits.forget)
            return level is not None and float(right.float().mean()) <= level

        stop = None if level is None else is_forgotten
        seed, journal = self.config.seed, self.folder.journal
        return carry_out(self.method, trainer, splits, journal, seed=seed, is_forgotten=stop)

    def _save(self, model: NetworkDomain) -> None:
        if not self.folder.is_main:
            return
        self.folder.keep()
        parameters.save_whole(model, self.folder.path / "model")
        self.record.hashes["model"] = hash_files((self.folder.path / "model").glob("*.safetensors"))

    def _inspect(self, original: NetworkDomain, model: NetworkDomain, splits: Splits) -> None:
        """Call a ruined model so, with the strength that would have been safe."""
        if not splits.retain:
            self._note("no retain data, so that a collapse would go unseen")
            return
        with self.folder.phase("evaluate"):
            found = inspect(original, model, splits.retain, tolerance=self.config.evaluate.max_retain_loss)
        if found.is_collapsed:
            self.record.outcome = COLLAPSED
            self._note(f"collapsed: {found}")

    def _note(self, text: str) -> None:
        self.record.notes.append(text)
        self.watch.announce(text)

    def _paint(self, models: Mapping[str, NetworkDomain], splits: Splits) -> None:
        painter = next((attack for attack in build_attacks(self.config) if isinstance(attack, ModelInversion)), None)
        if painter is not None and self.folder.is_main:
            with self.folder.phase("evaluate"):
                self.record.examples = paint_classes(painter, models, splits, self.folder.path)

    def _write_down(self, looks: Mapping[str, Look], splits: Splits) -> None:
        controls = looks[ORIGINAL]["controls"] if ORACLE in looks else []
        rows = [row for look in looks.values() for row in look["results"]] + list(controls)
        self.record.results += [Result(**row) for row in rows]
        if ORACLE not in looks:
            reason = why_no_oracle(self.config, self.request)
            self.record.results.append(Result(name="oracle", target=ORACLE, value=None, skipped=reason))
        self.record.cost["peak_memory_mb"] = peak_memory_mb()
        seconds, retraining = self.record.cost["unlearning_cpu_seconds"], self.record.cost.get("retraining_cpu_seconds")
        if self._is_resumed:
            self._note("resumed: the time of unlearning is not whole, so no speed-up is given")
        elif retraining and seconds:
            self.record.cost["speed_up_over_retraining"] = round(retraining / seconds, 2)
        curves = {target: look["roc"] for target, look in looks.items() if look["roc"]}
        sizes = {"members": len(splits.forget), "others": len(splits.holdout or ())}
        if self.folder.is_main:
            roc = {"false_positive_rates": [round(float(rate), 2) for rate in RATES], "true_positive_rates": curves}
            write_json(self.folder.path / CURVES, {"membership_roc": {**roc, **sizes}})


def _checked(config: ItemConfig) -> tuple[Method, ItemRequest]:
    """Method and request of a configuration, refused where they do not go together."""
    method = build_method(config.method, seed=config.seed)
    has_full_weights = config.parameters.kind == "full"
    method.check(config.domain, oracle=True, full_weights=has_full_weights)
    build_attacks(config)
    if config.train.stop_recall is not None and config.domain == "regression":
        raise ConfigError("train.stop_recall needs a classifier: a regressor has no recall; leave it out")
    request = read_request(config)
    retain = config.request.retain == "all" and request.has_retain
    is_whole = request.is_whole or request.marked is None  # where a model must be asked, it is checked again
    has_oracle = why_no_oracle(config, request) is None
    method.check(config.domain, retain=retain, oracle=has_oracle, whole_classes=is_whole)
    return method, request
