"""What groups, metrics, models and methods are called for readers, and which way each number should move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from genunlearn.data.lm.facts import FORGET_GROUPS, GROUPS, KEEP_GROUPS
from genunlearn.records import Result, RunRecord
from genunlearn.registry import METHODS

ORIGINAL, UNLEARNED, ORACLE = "original", "unlearned", "oracle"


class Goal(StrEnum):
    """Which way a number should move."""

    DOWN = "should go"
    UP = "should stay"
    NONE = "no target of its own"


@dataclass(frozen=True)
class Words:
    """A name for readers and one sentence on what it is."""

    label: str
    meaning: str = ""


@dataclass(frozen=True)
class MetricWords(Words):
    """A metric for readers.

    Attributes:
        tells_knowledge: Whether a high value means that the model knows what is asked. Such a metric should fall in
            a forget group and hold in a keep group, whatever it says of itself.
    """

    tells_knowledge: bool = False


GROUP_WORDS = {
    "forget": Words("the fact", "phrasings that unlearning may use"),
    "forget_heldout": Words("the fact, new phrasings", "phrasings that unlearning never saw"),
    "two_hop_through": Words("two steps, through it", "questions that need the fact as a stepping stone"),
    "same_subject": Words("same subject", "other facts about the subject"),
    "same_object": Words("same object", "other facts in which the object occurs"),
    "same_relation": Words("same relation", "the same question about other subjects"),
    "two_hop": Words("two steps, nearby", "two-step questions near the fact, not through it"),
    "rest": Words("the rest", "everything else that is measured"),
    "neighbours": Words("neighbours", "all groups near the fact taken together, without the rest"),
    "neutral": Words("neutral text"),
}

METRIC_WORDS = {
    "recall": MetricWords("Recall", "share of questions whose greedy answer tells the truth", True),
    "leak_rate": MetricWords(
        "Leak rate, sampled",
        "share of questions that any of the sampled answers tells; with greedy answers it is the recall",
        True,
    ),
    "truth_probability": MetricWords("Probability of the truth", "geometric mean over the true answer's tokens", True),
    "extraction_strength": MetricWords(
        "Extraction strength", "share of the true answer that follows by itself once its beginning is given", True
    ),
    "answer_probability": MetricWords("Probability of the answer", "geometric mean over its tokens, its end included"),
    "option_probability": MetricWords("Probability among options", "of the true answer beside the wrong ones"),
    "rouge1_recall": MetricWords("ROUGE-1 recall", "share of the true answer's words that the greedy answer has"),
    "rougeL_recall": MetricWords("ROUGE-L recall", "the same, in the same order"),
    "truth_ratio_balance": MetricWords(
        "Truth ratio, balance", "min(R, 1/R); 1: wrong answers are as likely as the right"
    ),
    "truth_ratio_margin": MetricWords("Truth ratio, margin", "max(0, 1 - R); 1: only the right answer is likely"),
    "truth_ratio_preference": MetricWords("Truth ratio, preference", "1 / (1 + R); 1/2: both are equally likely"),
    "exact_memorisation": MetricWords("Exact memorisation", "share of the true answer's tokens that come first"),
    "forget_quality": MetricWords("Forget quality", "p-value; above 0.05 truth ratios are like a retrained model's"),
    "model_utility": MetricWords("Model utility", "harmonic mean of nine numbers on what must stay"),
    "ngram_entropy": MetricWords("N-gram entropy", "bits; low where an answer repeats itself"),
    "repetition": MetricWords("Repetition", "share of four-word sequences that an answer has had before"),
    "ua": MetricWords("Unlearning accuracy (UA)", "share of the images asked to show the concept that do not show it"),
    "ira": MetricWords(
        "In-domain retain accuracy (IRA)", "share of the other images that show what was asked of the concept's kind"
    ),
    "cra": MetricWords(
        "Cross-domain retain accuracy (CRA)", "share of the other images that show what was asked of another kind"
    ),
    "fid": MetricWords("FID", "distance of the other images from those named, in the judge's features"),
    "kid": MetricWords("KID", "the same distance by a kernel; it may be a little below 0"),
    "asr": MetricWords("Attack success", "share of images that show the concept"),
    "relearn_steps": MetricWords("Steps to relearn", "until the concept shows in half of the images"),
    "crs": MetricWords("CRS, as published", "mean gap of distances to the two models' images; without a sign"),
    "ccs": MetricWords("CCS, as published", "mean probability that a completed image is the original's"),
    "crs_signed": MetricWords("CRS, signed", "above 0: nearer to the original's images than to the audited model's"),
    "ccs_controlled": MetricWords("CCS, controlled", "the probability, by a classifier that never saw the yardstick"),
    "domain_auc": MetricWords("AUC of the classifier", "0.5 is chance: then CRS and CCS say nothing"),
    "domain_accuracy": MetricWords("Accuracy of the classifier", "on held-out images"),
    "normalised_leak": MetricWords(
        "Normalised leak", "0: like the oracle, 1: like the original, mean over psi up to 0.5"
    ),
    "clip_score": MetricWords("CLIP score", "how well images fit their prompts, by a CLIP model"),
    "perplexity": MetricWords("Perplexity", "on neutral text; it should not rise"),
}

TARGET_WORDS = {
    ORIGINAL: Words("before", "the original model"),
    UNLEARNED: Words("after", "the unlearned model"),
    ORACLE: Words("oracle", "a model trained again without the forget data"),
}


def group_words(group: str | None) -> Words:
    """What a scope group or data split is called."""
    return GROUP_WORDS.get(group or "", Words(humanise(group) if group else "all"))


def metric_words(name: str) -> MetricWords:
    """What a metric is called."""
    return METRIC_WORDS.get(name) or MetricWords(humanise(name, capital=True))


def target_words(target: str) -> Words:
    """What a measured model is called; a method goes by its paper's name."""
    return TARGET_WORDS.get(target) or Words(method_label(target))


def method_label(name: str) -> str:
    """A method's name in its paper's casing, as its class is named; `name` itself for an unknown method."""
    return METHODS.line(name).target.rpartition(":")[2] if name in METHODS else name


def goal_of(result: Result) -> Goal:
    """Which way this number should move.

    The scope group decides for metrics that tell what the model knows; the metric's own direction for all others.
    """
    if metric_words(result.name).tells_knowledge and result.group in GROUPS:
        if result.group in FORGET_GROUPS:
            return Goal.DOWN
        return Goal.UP if result.group in KEEP_GROUPS else Goal.NONE
    if result.higher_is_better is None:
        return Goal.NONE
    return Goal.UP if result.higher_is_better else Goal.DOWN


def in_order(groups: Iterable[str | None]) -> tuple[str | None, ...]:
    """Groups without duplicates: scope groups in the order of the scope, others behind them as they come."""
    unique = list(dict.fromkeys(groups))
    known = {group: place for place, group in enumerate(GROUPS)}
    return tuple(sorted(unique, key=lambda group: known.get(group or "", len(known) + unique.index(group))))


def humanise(name: str, *, capital: bool = False) -> str:
    """``same_object`` as ``same object``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] if capital else words


# ---- what the record says of the run ----------------------------------------------------------------------------


def run_method(record: RunRecord) -> str:
    """Name of the record's method for readers."""
    name = run_section(record, "method").get("name")
    return method_label(name) if name else "unnamed method"


def run_model(record: RunRecord) -> str:
    """Hub id, folder or lab name of the record's model."""
    return run_section(record, "model").get("source") or "unnamed model"


def run_facts(record: RunRecord) -> list[dict[str, Any]]:
    """The facts of the request, each at least with a subject or a question; empty for other requests."""
    facts = record.request.get("facts") or run_section(record, "request").get("facts") or ()
    return [fact if isinstance(fact, dict) else _fact_from_text(str(fact)) for fact in facts]


def _fact_from_text(text: str) -> dict[str, Any]:
    parts = [part.strip() for part in text.split("|")]
    return dict(zip(("subject", "relation", "object"), parts, strict=True)) if len(parts) == 3 else {"subject": text}


def fact_label(fact: dict[str, Any]) -> str:
    """One fact in one line."""
    parts = (fact.get("subject"), fact.get("relation"), fact.get("object"))
    return " · ".join(str(part) for part in parts if part) or str(fact.get("question", "unnamed fact"))


def request_label(record: RunRecord) -> str:
    """What was to be forgotten, in a few words."""
    facts = run_facts(record)
    if len(facts) == 1:
        return fact_label(facts[0])
    if facts:
        return f"{len(facts)} facts"
    for kind in ("concepts", "classes"):
        if names := record.request.get(kind):
            return ", ".join(map(str, names))
    return str(run_section(record, "request").get("forget") or "Unnamed request")


def run_section(record: RunRecord, name: str) -> dict[str, Any]:
    """A section of the record's configuration; empty where it has none."""
    section = record.config.get(name)
    return section if isinstance(section, dict) else {}
