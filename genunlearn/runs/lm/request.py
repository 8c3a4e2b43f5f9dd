"""What a language-model run is about: its facts, their scope, its model and oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genunlearn.config.lm import LMAuditConfig, LMConfig
from genunlearn.contracts import Splits
from genunlearn.data.lm.benchmarks.reading import read_benchmark
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.requests import check_overlap, parse_fact, read_facts, read_qa, read_retain
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import check_language_model, resolve_folder
from genunlearn.errors import ConfigError, DataError
from genunlearn.lab.lm.world_facts import REAL_LAB, WorldFacts, world_of
from genunlearn.records import hash_json
from genunlearn.registry import LAB, LABS

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
    benchmark: str | None = None

    @property
    def surroundings(self) -> Scope:
        """The scope, once the model has been asked for what the request leaves open."""
        assert self.scope is not None
        return self.scope

    @property
    def sha256(self) -> str:
        """Hash of everything that the request says."""
        rows = [repr(item) for item in (*self.facts, *self.forget, *(self.retain or ()))]
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
    if request.columns and not request.forget:
        raise ConfigError("request.columns goes with request.forget and request.retain; leave it out")
    columns = {str(name): given for name, given in request.columns.items()}
    retain = read_retain(request.retain, columns) if request.retain else None
    if request.path:
        return _benchmark_request(config, request.path, retain)
    if request.forget:
        forget = read_qa(request.forget, columns=columns)[: request.limit]
        if retain is not None:
            check_overlap(forget, retain)
        return LMRequest((), forget, retain, None, ())
    if is_lab(config):
        return _lab_request(config, retain)
    facts = read_facts(request.file) if request.file else _spoken_facts(config)
    if retain is not None:
        check_overlap(facts, retain)
    return LMRequest(facts, _questions(facts), retain, None, ())


def _benchmark_request(config: LMConfig | LMAuditConfig, path: str, retain: tuple[QA, ...] | None) -> LMRequest:
    """A benchmark's split; a retain file takes the place of the benchmark's own."""
    request = config.request
    data = read_benchmark(path, request.benchmark, request.split)
    most = config.evaluate.limit if isinstance(config, LMConfig) else None
    measured = {name: items[:most] for name, items in data.measured.items()}
    measured["forget"] = measured["forget"][: request.limit]
    kept = retain or data.retain
    check_overlap(data.forget, kept or ())
    scope = Scope(facts=(), retain=kept or (), measured=measured)
    return LMRequest((), data.forget[: request.limit], kept, scope, (), data.label)


def _lab_request(config: LMConfig | LMAuditConfig, retain: tuple[QA, ...] | None) -> LMRequest:
    from genunlearn.lab.lm.corpus import neutral_texts

    world = world_of(lab_name(config))
    if config.request.file:
        keys = [f"{fact.subject} | {fact.relation or '?'} | {fact.object}" for fact in read_facts(config.request.file)]
    else:
        keys = list(config.request.facts)
    facts = tuple(world.fact(key) for key in keys)
    scope = world.scope(facts)
    if retain is not None:
        check_overlap(facts, retain)
    hidden = [fact.id for fact in facts]
    if isinstance(world, WorldFacts):
        neutral = world.neutral_texts(NEUTRAL_TEXTS, exclude=hidden)
    else:
        neutral = neutral_texts(world, NEUTRAL_TEXTS, exclude=hidden)
    return LMRequest(facts, _questions(facts), retain, scope, neutral)


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


def check_sources(config: LMConfig) -> None:
    """Refuse models that are not there or not complete, before anything is written.

    Raises:
        SourceNotFound: The model, the oracle or its base that the configuration names cannot be used.
    """
    oracle, base = config.evaluate.oracle, config.oracle.base
    named = [oracle] if oracle not in ("auto", "never") else [base] if oracle == "auto" and base else []
    for source in (config.model.source, *named):
        if source.startswith(LAB):
            LABS.line(source.removeprefix(LAB), "lm")
        else:
            revision = config.model.revision if source == config.model.source else None
            check_language_model(resolve_folder(source, revision))


def open_model(config: LMConfig | LMAuditConfig, source: str | None = None) -> LanguageModel:
    """Load the model of a configuration, or another one in the same manner."""
    source = source or config.model.source
    in_lab = source.startswith(LAB)
    folder = str(LABS.get(source.removeprefix(LAB), "lm")()) if in_lab else source
    settings = config.model
    is_trained_here = any(name.startswith(LAB) and name != LAB + REAL_LAB for name in (source, config.model.source))
    suite = settings.prompts if settings.prompts != "auto" else ("lab" if is_trained_here else "instruct")
    return LanguageModel.load(
        folder,
        revision=settings.revision if source == settings.source else None,
        dtype=settings.dtype,
        quantize=settings.quantize,
        device=settings.device,
        prompt_suite=suite,
    )


def make_splits(request: LMRequest, retain: str) -> Splits[Scope]:
    """Data for the method; `retain` is ``neighbours``, ``file`` or ``none``.

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
    return Splits(forget=request.forget, retain=kept, context=scope)


def unknown_facts(request: LMRequest, told: Sequence[bool], measured: Sequence[QA]) -> list[str]:
    """Facts none of whose questions the model answers with the truth."""
    known = {item.fact for item, is_told in zip(measured, told, strict=True) if is_told}
    return [fact.id for fact in request.facts if fact.id not in known]
