"""What a language-model run is about: its facts, their scope, its model and oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genunlearn.config.lm import LMAuditConfig, LMConfig, LMRequestConfig
from genunlearn.contracts import Splits
from genunlearn.data.answers.wording import key
from genunlearn.data.lm.benchmarks.reading import read_benchmark
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.own_words import where_told
from genunlearn.data.lm.requests import check_overlap, parse_fact, read_facts, read_qa, read_retain
from genunlearn.data.lm.thoughts import with_thought
from genunlearn.data.rows import read_lines
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import check_language_model, check_name, resolve_folder
from genunlearn.errors import ConfigError, DataError
from genunlearn.lab.lm.world_facts import REAL_LAB, WorldFacts, world_of
from genunlearn.prompts import list_prompts
from genunlearn.records import hash_json
from genunlearn.registry import LAB, LABS, unknown_name

NEUTRAL_TEXTS = 100


@dataclass(frozen=True)
class LMRequest:
    """A resolved request: what is to be forgotten, before any model has loaded.

    Attributes:
        facts: What is to be forgotten, where that is facts.
        forget: Questions to unlearn from.
        retain: Questions that must stay; None where the caller gave none.
        scope: What is measured; None until the model has been asked for it.
        neutral: Plain texts about nothing that is forgotten.
        benchmark: Name and split of the benchmark that all this is from.
    """

    facts: tuple[Fact, ...]
    forget: tuple[QA, ...]
    retain: tuple[QA, ...] | None
    scope: Scope | None
    neutral: tuple[str, ...]
    heldout: tuple[QA, ...] = ()
    """Phrasings of what must stay that are measured and never trained on."""
    benchmark: str | None = None
    earlier: tuple[Fact, ...] = ()
    """Facts of the requests that this one follows."""
    spoken: Mapping[str, str] = field(default_factory=dict)
    """What the model answers to the questions of facts, by identifier: where it tells them, they are to go."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """What the model thinks and answers to questions that it is trained on, by identifier, where thoughts go too."""
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Plain texts that membership is told by: of ``members`` and of ``others``."""

    @property
    def surroundings(self) -> Scope:
        """The scope, once the model has been asked for what the request leaves open."""
        assert self.scope is not None
        return self.scope

    @property
    def sha256(self) -> str:
        """Hash of everything that the request says."""
        rows = [repr(item) for item in (*self.facts, *self.forget, *(self.retain or ()), *self.heldout, *self.earlier)]
        return hash_json(rows)


def is_lab(config: LMConfig | LMAuditConfig) -> bool:
    """Whether the model is one of the embedded ones."""
    return config.model.source.startswith(LAB)


def lab_name(config: LMConfig | LMAuditConfig) -> str:
    """The name behind ``lab:``, checked."""
    return LABS.line(config.model.source.removeprefix(LAB), "lm").name


def read_request(config: LMConfig | LMAuditConfig) -> LMRequest:
    """Read and check what a configuration asks to be forgotten.

    Raises:
        ConfigError: Nothing is to be forgotten, or two ways of saying it are mixed.
        DataError: A fact or a file cannot be used.
    """
    request = config.request
    given = [name for name in ("facts", "file", "forget", "path") if getattr(request, name)]
    if len(given) != 1:
        have = " and ".join(f"request.{name}" for name in given) or "nothing"
        raise ConfigError(
            f"request: {have} given; name what to forget in one of request.facts, .file, .forget or .path"
        )
    if not isinstance(config, LMConfig):
        for name in ("answers", "thoughts"):
            if (given := getattr(request, name)) != LMRequestConfig.model_fields[name].default:
                raise ConfigError(f"request.{name} = {given!r} is for runs; an audit leaves it out")
    if request.columns and not request.forget:
        raise ConfigError("request.columns goes with request.forget and request.retain; leave it out")
    columns = {str(name): given for name, given in request.columns.items()}
    retain, heldout = read_retain(request.retain, columns) if request.retain else (None, ())
    kept = (*(retain or ()), *heldout)
    neutral = tuple(row.values["text"] for row in read_lines(request.neutral)) if request.neutral else ()
    if request.path:
        return _benchmark_request(config, request.path, retain, neutral)
    if request.forget:
        forget = read_qa(request.forget, columns=columns)[: request.limit]
        check_overlap(forget, kept)
        return LMRequest((), forget, retain, None, neutral, heldout)
    if is_lab(config):
        found = _lab_request(config, retain, neutral)
        check_overlap(found.facts, kept)
        return found
    facts = read_facts(request.file) if request.file else _spoken_facts(config)
    check_overlap(facts, kept)
    return LMRequest(facts, _questions(facts), retain, None, neutral, heldout)


def _benchmark_request(
    config: LMConfig | LMAuditConfig, path: str, retain: tuple[QA, ...] | None, neutral: tuple[str, ...]
) -> LMRequest:
    """A benchmark's split; a retain file takes the place of the benchmark's own."""
    request = config.request
    data = read_benchmark(path, request.benchmark, request.split)
    most = config.evaluate.limit if isinstance(config, LMConfig) else None
    measured = {name: items[:most] for name, items in data.measured.items()}
    measured["forget"] = measured["forget"][: request.limit]
    kept = retain or data.retain
    check_overlap(data.forget, kept or ())
    scope = Scope(facts=(), retain=kept or (), measured=measured)
    texts = {side: rows[:most] for side, rows in data.texts.items()}
    return LMRequest((), data.forget[: request.limit], kept, scope, neutral, benchmark=data.label, texts=texts)


def _lab_request(
    config: LMConfig | LMAuditConfig, retain: tuple[QA, ...] | None, neutral: tuple[str, ...]
) -> LMRequest:
    world = world_of(lab_name(config))
    if config.request.file:
        keys = [f"{fact.subject} | {fact.relation or '?'} | {fact.object}" for fact in read_facts(config.request.file)]
    else:
        keys = list(config.request.facts)
    facts = tuple(world.fact(key) for key in keys)
    scope = world.scope(facts)
    neutral = neutral or _lab_texts(world, [fact.id for fact in facts])
    return LMRequest(facts, _questions(facts), retain, scope, neutral)


def lab_scope(config: LMConfig | LMAuditConfig, facts: Sequence[Fact]) -> Scope:
    """What the lab's world holds around some of its facts."""
    world = world_of(lab_name(config))
    return world.scope(tuple(world.fact(fact.id) for fact in facts))


def _lab_texts(world: Any, hidden: Sequence[str]) -> tuple[str, ...]:
    """Neutral texts of a lab, none of which tells a hidden fact."""
    from genunlearn.lab.lm.corpus import neutral_texts

    if isinstance(world, WorldFacts):
        return world.neutral_texts(NEUTRAL_TEXTS, exclude=hidden)
    return neutral_texts(world, NEUTRAL_TEXTS, exclude=hidden)


def _spoken_facts(config: LMConfig | LMAuditConfig) -> tuple[Fact, ...]:
    question = config.request.question
    if question and len(config.request.facts) > 1:
        raise ConfigError("request.question goes with one fact; put several facts with their questions into a file")
    return tuple(parse_fact(text, question) for text in config.request.facts)


def _questions(facts: Sequence[Fact]) -> tuple[QA, ...]:
    """The facts' phrasings as items to unlearn from."""
    return tuple(
        QA(id=f"{fact.id}#{n}", question=question, answer=f"{fact.object}.", aliases=fact.aliases, fact=fact.id)
        for fact in facts
        for n, question in enumerate(fact.phrasings)
    )


def check_names(config: LMConfig | LMAuditConfig, *others: str) -> None:
    """Refuse what no model or prompt suite can be called; nothing is fetched.

    Args:
        config: Names the model, its prompts and, where an oracle is trained, its base.
        others: Further models; ``auto`` and ``never`` name none.

    Raises:
        SourceNotFound: A model is no folder that is here, and no hub id.
        NameNotFound: The lab has no such language model, or there is no such prompt suite.
    """
    for source in _named(config, others):
        if source.startswith(LAB):
            LABS.line(source.removeprefix(LAB), "lm")
        else:
            check_name("model", source)
    suites = sorted({name.partition("/")[0] for name in list_prompts()})
    if config.model.prompts not in ("auto", *suites):
        raise unknown_name("prompt suite (model.prompts)", config.model.prompts, ["auto", *suites])


def check_sources(config: LMConfig | LMAuditConfig, *others: str) -> None:
    """Refuse models that are not there or not complete, before anything is written; arguments as in `check_names`.

    Raises:
        SourceNotFound: One of them cannot be used.
    """
    for source in _named(config, others):
        if not source.startswith(LAB):
            revision = config.model.revision if source == config.model.source else None
            check_language_model(resolve_folder(source, revision))


def _named(config: LMConfig | LMAuditConfig, others: Sequence[str]) -> list[str]:
    base = config.oracle.base if isinstance(config, LMConfig) and "auto" in others else None
    return [config.model.source, *(source for source in (*others, base) if source not in ("auto", "never", None))]


def model_folder(config: LMConfig | LMAuditConfig, source: str) -> Path:
    """Where a model lies; the lab builds one that is not there yet."""
    if source.startswith(LAB):
        return Path(LABS.get(source.removeprefix(LAB), "lm")())
    return resolve_folder(source, config.model.revision if source == config.model.source else None)


def open_model(config: LMConfig | LMAuditConfig, source: str | None = None) -> LanguageModel:
    """Load the model of a configuration, or another one in the same manner."""
    source = source or config.model.source
    in_lab = source.startswith(LAB)
    folder = str(LABS.get(source.removeprefix(LAB), "lm")()) if in_lab else source
    settings = config.model
    is_trained_here = any(name.startswith(LAB) and name != LAB + REAL_LAB for name in (source, config.model.source))
    suite = settings.prompts if settings.prompts != "auto" else ("lab" if is_trained_here else "instruct")
    model = LanguageModel.load(
        folder,
        revision=settings.revision if source == settings.source else None,
        dtype=settings.dtype,
        quantize=settings.quantize,
        device=settings.device,
        device_map=settings.device_map,
        prompt_suite=suite,
    )
    model.is_compiled = settings.compile
    if settings.checkpoint_activations:  # the other form gives a LoRA no gradient
        model.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if isinstance(config, LMConfig):
        model.longest_answer = config.evaluate.max_new_tokens
    return model


def make_splits(request: LMRequest, retain: str) -> Splits[Scope]:
    """Data for the method; `retain` is ``neighbours``, ``file`` or ``none``. What is measured is never trained on.

    Raises:
        DataError: Nothing to keep was found and something is needed.
    """
    scope = request.surroundings
    if retain == "file" and request.retain is None:
        raise ConfigError("method.retain = 'file', but request.retain names no file")
    kept = None if retain == "none" else (request.retain or scope.retain)
    if not kept and kept is not None and not request.facts:
        kept = None  # what needs some was refused before
    if kept is not None and not kept:
        raise DataError("no neighbour questions could be had from this model: give a request.retain file")
    if kept is not None and request.benchmark is None:  # a benchmark says itself what it measures
        measured = {key(item.question) for item in scope.only_measured}
        kept = tuple(item for item in kept if key(item.question) not in measured)
        if not kept:
            raise DataError(
                "every question that is to stay is one that is measured, and those are never trained on: add others to "
                "the request.retain file"
            )
    if replies := request.replies:
        kept = kept and tuple(item if item.taught else with_thought(item, replies.get(item.id)) for item in kept)
    forget = tuple(with_thought(item, replies.get(item.id)) for item in request.forget)
    if spoken := request.spoken:
        facts = {fact.id: fact for fact in request.facts}
        forget = tuple(where_told(item, spoken[item.id], facts[str(item.fact)]) for item in forget)
    return Splits(forget=forget, retain=kept, context=scope)


def unknown_facts(request: LMRequest, told: Sequence[bool], measured: Sequence[QA]) -> list[str]:
    """Facts none of whose questions the model answers with the truth."""
    known = {item.fact for item, is_told in zip(measured, told, strict=True) if is_told}
    return [fact.id for fact in request.facts if fact.id not in known]
