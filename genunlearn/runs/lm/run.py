"""A run on a language model: load, look, unlearn, look again, write down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genunlearn.config import FactConfig
from genunlearn.contracts import Outcome, Protocol, Splits
from genunlearn.data.lm.antisamples import AntiSample, read_antisamples
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import refuse_quantized_full
from genunlearn.engine import parameters
from genunlearn.engine.progress import Watch
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, DataError
from genunlearn.evaluation.lm import metrics as metrics
from genunlearn.evaluation.lm.probes import FactProbes
from genunlearn.prompts import list_prompts, load_prompt
from genunlearn.records import Result, RunRecord, hash_json, write_jsonl
from genunlearn.runs.folder import RunFolder, peak_memory_mb
from genunlearn.runs.lm.request import (
    FactRequest,
    check_sources,
    make_splits,
    open_model,
    oracle_source,
    read_request,
    unknown_facts,
)
from genunlearn.runs.lm.scope import make_scope
from genunlearn.runs.methods import build_method
from genunlearn.runs.unlearning import carry_out, unlearn_in

SHOWN_PER_GROUP = 4
ANTISAMPLES = "antisamples.jsonl"


class FactRun:
    """One run of one method on one request; each step can be resumed."""

    def __init__(self, config: FactConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> None:
        """Check everything that can be checked before weights load, then make the folder.

        Raises:
            InputError: See the functions that are called here; nothing has been written then.
        """
        self.config, self.watch = config, watch or Watch(is_shown=False)
        self.method = build_method(config.method, seed=config.seed)
        self.keeps = getattr(self.method, "retain", "neighbours")
        self.request: FactRequest = read_request(config)
        is_full = config.parameters.kind == "full"
        self.method.check("lm", retain=bool(self.request.retain or self.request.facts), full_weights=is_full)
        if isinstance(self.method, Protocol) and not self.request.facts:
            raise DataError(f"method {self.method.name!r} needs facts (subject, object, question), not bare QA pairs")
        refuse_quantized_full(config.model.quantize, config.parameters.kind)
        self._refuse_quantized_merge()
        check_sources(config)
        if reviewed := getattr(self.method, "antisamples", None):
            read_antisamples(reviewed, [fact.id for fact in self.request.facts])
        self.folder = RunFolder(out, config, resume=resume, watch=self.watch)

    @staticmethod
    def check(config: FactConfig) -> str:
        """Check what needs no weights; says in a few words what the run would do."""
        method, request = build_method(config.method), read_request(config)
        is_full = config.parameters.kind == "full"
        method.check(config.domain, retain=bool(request.retain or request.facts), full_weights=is_full)
        return f"{method.name} on {config.model.source}, {len(request.forget)} questions to forget"

    @property
    def record(self) -> RunRecord:
        """The record, as far as the run has come."""
        return self.folder.record

    def __call__(self) -> RunRecord:
        """Carry the run out and return its record."""
        with self.folder.guarded():
            model, scope = self._open()
            before = self._look("original", model, scope)
            self._check_known(before, scope)
            self._describe(model)
            outcome = self._unlearn(model, scope)
            self._save(model, outcome)
            after = self._look("unlearned", model, scope)
            self._write_down(scope, {"original": before, "unlearned": after, **self._oracle(scope)}, model)
        return self.record

    # ---- steps ---------------------------------------------------------------------------------------------

    def _refuse_quantized_merge(self) -> None:
        if self.config.model.quantize != "none" and getattr(self.method, "merge_each_round", False):
            raise ConfigError("method.merge_each_round = true needs model.quantize = none: 4-bit weights take no merge")

    def _open(self) -> tuple[LanguageModel, Scope]:
        with self.folder.phase("load"):
            self.watch.announce(f"loading {self.config.model.source}")
            model = open_model(self.config)
        with self.folder.phase("neighbours"):
            return model, make_scope(self.request, model, self.config, self.folder.journal)

    def _look(self, target: str, model: LanguageModel, scope: Scope) -> dict[str, Any]:
        """Measure one model; plain JSON, kept in the journal."""
        settings = self.config.evaluate
        self.watch.announce(f"measuring the {target} model")

        def measure() -> dict[str, Any]:
            probes = FactProbes(
                model,
                scope.measured,
                samples=settings.samples,
                temperature=settings.temperature,
                neutral=self.request.neutral,
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
                seed=self.config.seed,
            )
            results = metrics.measure(metrics.SUITES[settings.suite], probes, target)
            return {
                "results": [asdict(result) for result in results],
                "answers": {group: texts[:SHOWN_PER_GROUP] for group, texts in probes.answers.items()},
                "told": probes.is_told,
            }

        with self.folder.phase("evaluate"):
            return self.folder.journal.stage(f"evaluate/{target}", measure)

    def _check_known(self, before: Mapping[str, Any], scope: Scope) -> None:
        told, asked = before["told"]["forget"], scope.measured["forget"]
        unknown = (
            unknown_facts(self.request, told, asked) if self.request.facts else ([] if any(told) else ["forget set"])
        )
        if unknown and not self.config.request.force:
            raise DataError(
                f"{', '.join(unknown)}: the model does not know this to begin with (none of its questions is answered "
                "with the truth), so there is nothing to forget; request.force = true goes on all the same"
            )

    def _describe(self, model: LanguageModel) -> None:
        prompts = {
            name: load_prompt(name).sha256 for name in list_prompts() if name.startswith(f"{model.prompt_suite}/")
        }
        self.record.hashes |= {"base": model.base_sha256, "request": self.request.sha256, "prompts": prompts}
        self.record.request = {
            "model": self.config.model.source,
            "facts": [asdict(fact) for fact in self.request.facts],
            "questions": len(self.request.forget),
            "retain_questions": len(self.request.retain or ()),
        }

    def _unlearn(self, model: LanguageModel, scope: Scope) -> Outcome:
        splits = make_splits(self.request, scope, self.keeps)
        outcome = unlearn_in(
            self.folder,
            self.config,
            model,
            self.config.parameters,
            lambda trainer: self._carry_out(trainer, model, splits),
        )
        return outcome

    def _carry_out(self, trainer: Trainer, model: LanguageModel, splits: Splits) -> Outcome:
        level = self.config.train.stop_recall
        stop = None if level is None else lambda: self._forget_recall(model) <= level
        return carry_out(self.method, trainer, splits, self.folder.journal, seed=self.config.seed, is_forgotten=stop)

    def _forget_recall(self, model: LanguageModel) -> float:
        """Share of the questions that may be trained on that the model still answers with the truth."""
        budget = self.config.evaluate.max_new_tokens
        probes = FactProbes(model, {"forget": self.request.forget}, max_new_tokens=budget)
        told = probes.is_told["forget"]
        return sum(told) / len(told)

    def _save(self, model: LanguageModel, outcome: Outcome) -> None:
        if not self.folder.is_main:
            return
        for name, rows in outcome.artefacts.items():
            write_jsonl(self.folder.path / f"{name}.jsonl", rows)
        is_patch = self.config.parameters.kind == "lora" and not getattr(self.method, "merge_each_round", False)
        if is_patch:
            self.record.hashes["patch"] = parameters.save_patch(model, self.folder.path / "patch")
        else:
            parameters.save_whole(model, self.folder.path / "model")

    def _oracle(self, scope: Scope) -> dict[str, dict[str, Any]]:
        with self.folder.phase("oracle"):
            source, reason = oracle_source(self.config, self.request)
        if source is None:
            self.record.notes.append(f"no oracle row: {reason}")
            self.record.results.append(Result(name="recall", target="oracle", value=None, skipped=reason))
            return {}
        return {"oracle": self._look("oracle", open_model(self.config, source), scope)}

    def _write_down(self, scope: Scope, looks: Mapping[str, Mapping[str, Any]], model: LanguageModel) -> None:
        self.record.results += [Result(**row) for look in looks.values() for row in look["results"]]
        self.record.examples = examples(scope.measured, looks)
        meter = model.meter
        self.record.cost |= {
            "forwards": meter.forwards,
            "tokens": {"scored": meter.tokens_scored, "generated": meter.tokens_generated},
            "peak_memory_mb": peak_memory_mb(),
        }


def examples(measured: Mapping[str, Sequence[QA]], looks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A few questions of each group with every model's answer, for people to read."""
    rows = []
    for group, items in measured.items():
        for index, item in enumerate(items[:SHOWN_PER_GROUP]):
            row: dict[str, Any] = {"group": group, "question": item.question, "answer": item.answer}
            row |= {target: look["answers"][group][index] for target, look in looks.items()}
            row["tells"] = {target: look["told"][group][index] for target, look in looks.items()}
            rows.append(row)
    return rows


def write_antisamples(config: FactConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> Path:
    """Stop after writing the anti-samples of the first round, for review; returns their file."""
    method: Any = build_method(config.method, seed=config.seed)
    if not hasattr(method, "write"):
        raise DataError(f"method {method.name!r} writes no anti-samples; unstar does")
    run = FactRun(config, out, resume=resume, watch=watch)
    with run.folder.guarded():
        model, scope = run._open()
        run._check_known(run._look("original", model, scope), scope)
        run._describe(model)
        splits = make_splits(run.request, scope, run.keeps)
        samples: Sequence[AntiSample] = method.write(model, splits, run.folder.journal)
        write_jsonl(run.folder.path / ANTISAMPLES, [sample.to_json() for sample in samples])
        run.record.outcome = "antisamples_written"
        run.record.hashes["antisamples"] = hash_json([sample.to_json() for sample in samples])
    return run.folder.path / ANTISAMPLES
