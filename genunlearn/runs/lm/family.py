"""Language models as a run sees them: facts, their scope, answers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.config.lm import LMConfig
from genunlearn.contracts import ORACLE, Beside, Journal, Method, Outcome, Splits
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.data.lm.antisamples import read_antisamples
from genunlearn.data.lm.facts import FORGET_GROUPS, Scope
from genunlearn.data.lm.requests import check_overlap
from genunlearn.data.lm.telling import TOLD_AT_MOST, evenly, recall
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import hash_weights, refuse_quantized_full
from genunlearn.engine import parameters
from genunlearn.errors import ConfigError, DataError
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.damage import what_fell
from genunlearn.evaluation.lm.depth import Patching
from genunlearn.prompts import hash_prompts
from genunlearn.records import Result, hash_json, write_jsonl
from genunlearn.registry import SUITES, require
from genunlearn.runs.lm.audit_models import is_patch, unlearned_place
from genunlearn.runs.lm.earlier import Earlier, read_earlier, rows_of, with_earlier
from genunlearn.runs.lm.judging import check_judge, open_judge
from genunlearn.runs.lm.oracle import oracle_source, why_no_oracle
from genunlearn.runs.lm.request import (
    LMRequest,
    check_names,
    check_sources,
    lab_scope,
    make_splits,
    model_folder,
    open_model,
    read_request,
    unknown_facts,
)
from genunlearn.runs.lm.scope import make_scope, read_own_words, read_replies

SHOWN_PER_GROUP = 4

TELLING = ("recall", "leak_rate")
"""Metrics that overrule a method which says that nothing is told any more."""
THINKING = ("thought_recall", "thought_leak_rate")
"""Those that do so where thoughts are to go too."""

MONITORED = 64
"""Questions of the retain pass that ``train.utility_floor`` is measured on."""


class LMFamily(Family[LMRequest, LanguageModel]):
    """Language models."""

    main_metric: ClassVar[str] = "recall"
    domain = LanguageModel
    config: LMConfig
    _earlier: Earlier | None = None

    def request(self, method: Method) -> LMRequest:
        """Facts or question-answer pairs; anti-samples that were reviewed are checked against them."""
        config = self.config
        self._check_controls()
        check_names(config, config.evaluate.oracle)
        self._earlier = read_earlier(config.on) if config.on else None
        request = self._after(read_request(config))
        refuse_quantized_full(config.model.quantize, config.parameters.kind)
        if config.model.quantize != "none" and _merges(method):
            raise ConfigError("method.merge_each_round = true needs model.quantize = none: 4-bit weights take no merge")
        check_sources(config, config.evaluate.oracle)
        check_judge(config)
        if config.evaluate.harness:
            require("lm_eval", "evaluate.harness")
        if reviewed := getattr(method, "antisamples", None):
            read_antisamples(reviewed, [fact.id for fact in request.facts])
        return request

    def _check_controls(self) -> None:
        """Refuse to share what depends on more than the folder's name is made of."""
        config = self.config
        others = {
            "on": bool(config.on),
            "evaluate.harness": bool(config.evaluate.harness),
            "evaluate.judge": config.evaluate.judge != "none",
        }
        if config.controls is not None and (name := next((name for name, given in others.items() if given), None)):
            raise ConfigError(f"controls: not with {name}, on which answers before unlearning depend; leave one out")

    def _after(self, request: LMRequest) -> LMRequest:
        """The request with those that it follows."""
        if self._earlier is None:
            return request
        if not request.facts:
            raise ConfigError(f"on = {self.config.on!r}: only requests of facts follow each other; leave it out")
        if self.config.model.quantize != "none":
            raise ConfigError("on needs model.quantize = none: the earlier patch is folded into the weights")
        asked = {fact.id for fact in request.facts}
        if twice := next((fact.id for fact in self._earlier.facts if fact.id in asked), None):
            raise DataError(f"{twice}: an earlier request has removed it already; name other facts")
        check_overlap(self._earlier.facts, (*(request.retain or ()), *request.heldout))
        if request.scope is not None:  # the lab's, which knows what is reached through what
            world_scope = lab_scope(self.config, (*request.facts, *self._earlier.facts))
            request = replace(request, scope=with_earlier(world_scope, self._earlier.facts))
        return replace(request, earlier=self._earlier.facts)

    def given(self, request: LMRequest) -> Mapping[str, bool]:
        """Around a fact the model itself can be asked what must stay."""
        has_retain = bool(request.retain or request.facts)
        has_facts = bool(request.facts)
        return {"retain": has_retain, "facts": has_facts, "full_weights": self.config.parameters.kind == "full"}

    def summary(self, request: LMRequest) -> str:
        """How many questions are to go unanswered."""
        where = f" of {request.benchmark}" if request.benchmark else ""
        return f"{len(request.forget)} questions{where} to forget"

    def cannot_stop(self, request: LMRequest) -> None:
        """Recall is asked for."""

    def has_no_floor(self, request: LMRequest) -> str | None:
        """Utility is asked for where training ends by recall."""
        return "it needs train.stop_recall" if self.config.train.stop_recall is None else None

    def open(self, request: LMRequest) -> LanguageModel:
        """The model that the configuration names, as earlier requests have left it."""
        model = open_model(self.config)
        return self._earlier.fold_into(model) if self._earlier else model

    def base_sha256(self) -> str:
        """By the files, which are not loaded."""
        return hash_weights(model_folder(self.config, self.config.model.source))

    def controls(self, request: LMRequest) -> Path | None:
        """A folder for all that answers of original and oracle depend on: not the method, nor its settings."""
        if self.config.controls is None:
            return None
        said, named = self.config.resolved(), self.config.evaluate.oracle
        parts = {key: said[key] for key in ("model", "seed", "evaluate", "oracle")}
        parts |= {"request": {**said["request"], "force": False}, "asked": request.sha256, "neutral": request.neutral}
        parts |= {"base": self.base_sha256(), "prompts": hash_prompts()}
        weights = self.config.oracle.base if named == "auto" else named
        if weights not in (None, "never"):
            parts["oracle weights"] = hash_weights(model_folder(self.config, weights))
        return Path(self.config.controls) / hash_json(parts)[:16]

    def reopen(self, request: LMRequest, folder: Path) -> LanguageModel:
        """The base with the patch on it, or the whole model."""
        place = unlearned_place(str(folder))
        if not is_patch(place):
            return open_model(self.config, str(place))
        model = open_model(self.config)
        parameters.load_patch(model, Path(place))
        return model

    def surround(self, request: LMRequest, model: LanguageModel, journal: Journal) -> LMRequest:
        """With the scope: from the lab, or what the model itself says around the facts."""
        is_known = request.scope is not None
        scope = make_scope(request, model, self.config, journal)
        if self.config.request.thoughts == "forget":
            request = replace(request, replies=read_replies(request, model, journal))
        elif self.config.request.answers == "told":
            request = replace(request, spoken=read_own_words(request, model, journal))
        return replace(
            request, scope=with_earlier(scope, request.earlier) if request.earlier and not is_known else scope
        )

    def why_no_oracle(self, request: LMRequest) -> str | None:
        """The lab trains one; for other models one has to be named, or the base that it is trained from."""
        return "one request after others" if request.earlier else why_no_oracle(self.config, request)

    def oracles(self, request: LMRequest) -> Sequence[LanguageModel]:
        """The one model that never knew the facts."""
        return (open_model(self.config, oracle_source(self.config, request, self.watch)),)

    def splits(self, request: LMRequest, model: LanguageModel, method: Method) -> Splits[Scope]:
        """Questions of the facts, and those of the neighbours or of a file."""
        return make_splits(request, getattr(method, "retain", "neighbours"))

    def attacked(self, request: LMRequest, beside: Beside[LanguageModel]) -> Sequence[Splits[Scope]]:
        """All facts together, as they are measured."""
        scope = request.surroundings
        return (Splits(forget=scope.measured["forget"], retain=scope.retain or None, context=scope),)

    # ---- measurement -----------------------------------------------------------------------------------------

    def measure(
        self, model: LanguageModel, request: LMRequest, target: str, beside: Beside[LanguageModel]
    ) -> Measurement:
        """Results of the suite, answers for people to read, and which answers tell the truth, by group."""
        settings = self.config.evaluate
        probes = self._oracle_probes(request, beside) if target == ORACLE else self._probes(model, request, beside)
        results = [*SUITES.get(settings.suite, "lm").measure(probes, target), *self._of_harness(model, target)]
        if cut := probes.unfinished:
            self.watch.announce(f"{cut} answers of the {target} model end inside of a thought; {self._more_room}")
        return {
            "results": [asdict(result) for result in results],
            "answers": {group: texts[:SHOWN_PER_GROUP] for group, texts in probes.answers.items()},
            "told": probes.is_told,
            "unfinished": probes.unfinished,
        }

    def _of_harness(self, model: LanguageModel, target: str) -> list[Result]:
        """Accuracy on the tasks of lm-evaluation-harness that the run names."""
        settings = self.config.evaluate
        if not settings.harness:
            return []
        from genunlearn.evaluation.lm.harness import harness_results

        folder, limit = settings.harness_path, settings.limit
        return harness_results(model, settings.harness, target, folder=folder, limit=limit)

    @property
    def _more_room(self) -> str:
        budget = self.config.evaluate.max_new_tokens
        return f"evaluate.max_new_tokens = {budget} is too little for its thoughts: raise it"

    def _probes(self, model: LanguageModel, request: LMRequest, beside: Beside[LanguageModel]) -> BenchmarkProbes:
        """What one model says and rates, asked as the metrics need it."""
        settings = self.config.evaluate
        return BenchmarkProbes(
            model,
            request.surroundings.measured,
            retrained=lambda: self._retrained(request, beside),
            retrained_area=lambda: self._retrained_area(request, beside),
            patching=lambda: beside.once("patching", lambda: self._patching(request, beside)),
            texts=request.texts,
            samples=settings.samples,
            temperature=settings.temperature,
            neutral=request.neutral,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            seed=self.config.seed,
            judge=beside.once("judge", lambda: open_judge(self.config, request.surroundings.measured)),
        )

    def _oracle_probes(self, request: LMRequest, beside: Beside[LanguageModel]) -> BenchmarkProbes:
        """Those of the oracle, whose texts are rated once for all models that are held against it."""
        return beside.once("oracle probes", lambda: self._probes(beside.oracles[0], request, beside))

    def _retrained(self, request: LMRequest, beside: Beside[LanguageModel]) -> list[float] | None:
        """Truth ratios of the oracle on the forget set; None where there is no oracle."""
        return self._oracle_probes(request, beside).truth_ratios.get("forget") if beside.oracles else None

    def _retrained_area(self, request: LMRequest, beside: Beside[LanguageModel]) -> float | None:
        """Area of the oracle's membership; None where there is no oracle, or nothing to tell it by."""
        found = self._oracle_probes(request, beside).membership if beside.oracles else None
        return found and found[0]

    def _patching(self, request: LMRequest, beside: Beside[LanguageModel]) -> Patching | None:
        """The original, to be held against the oracle layer by layer; None where there is no oracle."""
        if not beside.oracles:
            return None
        return Patching(beside.original, beside.oracles[0], request.surroundings.measured["forget"])

    def unknown(self, request: LMRequest, before: Measurement) -> list[str]:
        """Facts none of whose questions is answered with the truth.

        Raises:
            DataError: Nothing can be said of them, because answers end inside of a thought.
        """
        names = self._unknown(request, before)
        if names and (cut := before.get("unfinished", 0)):
            raise DataError(f"{', '.join(names)}: {cut} answers end inside of a thought; {self._more_room}")
        return names

    @staticmethod
    def _unknown(request: LMRequest, before: Measurement) -> list[str]:
        told, asked = before["told"]["forget"], request.surroundings.measured["forget"]
        if request.facts:
            return unknown_facts(request, told, asked)
        groups = [before["told"].get(group, ()) for group in FORGET_GROUPS]
        return [] if any(map(any, groups)) else ["the forget set"]

    def still_told(self, measured: Measurement) -> str | None:
        """Recall and leak rate of the fact, where they are above what counts as not told, or what was asked for."""
        most = max(TOLD_AT_MOST, self.config.train.stop_recall or 0.0)
        telling = (*TELLING, *THINKING) if self.config.request.thoughts == "forget" else TELLING
        found = [
            f"{row['name'].replace('_', ' ')} {row['value']:.2f} in group {row['group']} (n={row['n']})"
            for row in measured["results"]
            if row["name"] in telling and row["group"] in FORGET_GROUPS and (row["value"] or 0.0) > most
        ]
        return "; ".join(found) or None

    def recall(self, model: LanguageModel, request: LMRequest) -> float:
        """Share of the questions that may be trained on that the model answers with the truth."""
        return recall(model, request.forget)

    def utility(self, model: LanguageModel, request: LMRequest) -> float:
        """Share of some of the questions of the retain pass that the model answers with the truth."""
        kept = make_splits(request, "neighbours").retain or ()
        return recall(model, evenly(kept, MONITORED))

    def damage(self, request: LMRequest, model: LanguageModel, beside: Beside[LanguageModel]) -> str | None:
        """What must stay is told far less often: by more than the tolerance, with the interval's upper end."""
        before, after = (beside.measured[target]["told"] for target in ("original", "unlearned"))
        fallen = what_fell(before, after, self.config.evaluate.max_retain_loss)
        return fallen and f"{fallen}; weaken the method: train.learning_rate, its steps, its own settings"

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: LMRequest, model: LanguageModel) -> tuple[dict[str, Any], dict[str, Any]]:
        """Facts and numbers of questions; hashes of the base, the request and the prompts."""
        prompts = {name: sha for name, sha in hash_prompts().items() if name.startswith(f"{model.prompt_suite}/")}
        said = {
            "model": self.config.model.source,
            "facts": [asdict(fact) for fact in request.facts],
            "questions": len(request.forget),
            "retain_questions": len(request.retain or ()),
        }
        if request.benchmark:
            said["benchmark"] = request.benchmark
        if request.earlier:
            said["earlier"] = rows_of(request.earlier)
        hashes = {"base": model.base_sha256, "request": request.sha256, "prompts": prompts}
        if self.config.request.neutral:
            hashes["neutral"] = hash_json(request.neutral)
        return said, hashes

    def save(self, model: LanguageModel, method: Method, outcome: Outcome, folder: Path) -> Written:
        """A PEFT adapter where that holds all that has changed, the whole model otherwise."""
        for name, rows in outcome.artefacts.items():
            write_jsonl(folder / f"{name}.jsonl", rows)
        if self.config.parameters.kind == "lora" and not _merges(method):
            if self._earlier is None:
                return Written({"patch": parameters.save_patch(model, folder / "patch")})
            sha256 = self._earlier.save_with(model, open_model(self.config), folder / "patch")
            return Written({"patch": sha256}, "the patch holds the earlier requests too")
        parameters.save_whole(model, folder / "model")
        return Written({"model": hash_weights(folder / "model")})

    def examples(self, request: LMRequest, measured: Mapping[str, Measurement]) -> list[dict[str, Any]]:
        """A few questions of each group with every model's answer."""
        rows = []
        for group, items in request.surroundings.measured.items():
            for index, item in enumerate(items[:SHOWN_PER_GROUP]):
                row: dict[str, Any] = {"group": group, "question": item.question, "answer": item.answer}
                row |= {target: seen["answers"][group][index] for target, seen in measured.items()}
                row["tells"] = {target: seen["told"][group][index] for target, seen in measured.items()}
                rows.append(row)
        return rows


def _merges(method: Method) -> bool:
    return bool(getattr(method, "merge_each_round", False))
