"""What the groups, facts and metrics of language models are called for readers."""

from __future__ import annotations

from typing import Any

from genunlearn.data.lm.facts import GONE_GROUPS, GROUPS, KEEP_GROUPS
from genunlearn.records import Result, RunRecord
from genunlearn.reports import wording
from genunlearn.reports.wording import Goal, Words, humanise, run_section, words_in

GROUP_WORDS = {
    "forget": Words("the fact", "phrasings that unlearning may use"),
    "forget_heldout": Words("the fact, new phrasings", "phrasings that unlearning never saw"),
    "two_hop_through": Words("two steps, through it", "questions that need the fact as a stepping stone"),
    "earlier": Words("earlier requests", "facts of requests that this one follows, in new phrasings"),
    "same_subject": Words("same subject", "other facts about the subject"),
    "same_object": Words("same object", "other facts in which the object occurs"),
    "same_relation": Words("same relation", "the same question about other subjects"),
    "two_hop": Words("two steps, nearby", "two-step questions near the fact, not through it"),
    "rest": Words("the rest", "everything else that is measured"),
    "rest_trained": Words("trained on", "questions that the retain pass itself is trained on: no evidence for others"),
    "neighbours": Words("neighbours", "all groups near the fact taken together, without the rest"),
    "neutral": Words("neutral text"),
}

METRIC_WORDS = {
    "recall": Words("Recall", "share of questions whose greedy answer tells the truth"),
    "thought_recall": Words("Recall in thoughts", "share of thoughts before an answer that tell the truth"),
    "thought_leak_rate": Words("Leak rate of thoughts", "share of questions that any sampled thought tells"),
    "judged_recall": Words("Recall, judged", "the same answers as told by the judge that the run names"),
    "judge_agreement": Words("Agreement of judges", "share of answers that judge and string check read alike"),
    "leak_rate": Words(
        "Leak rate, sampled",
        "share of questions that any of the sampled answers tells; with greedy answers it is the recall",
    ),
    "truth_probability": Words("Probability of the truth", "geometric mean over the true answer's tokens"),
    "extraction_strength": Words(
        "Extraction strength", "share of the true answer that follows by itself once its beginning is given"
    ),
    "answer_probability": Words("Probability of the answer", "geometric mean over its tokens, its end included"),
    "option_probability": Words("Probability among options", "of the true answer beside the wrong ones"),
    "rouge1_recall": Words("ROUGE-1 recall", "share of the true answer's words that the greedy answer has"),
    "rougeL_recall": Words("ROUGE-L recall", "the same, in the same order"),
    "truth_ratio_balance": Words("Truth ratio, balance", "min(R, 1/R); 1: wrong answers are as likely as the right"),
    "truth_ratio_margin": Words("Truth ratio, margin", "max(0, 1 - R); 1: only the right answer is likely"),
    "truth_ratio_preference": Words("Truth ratio, preference", "1 / (1 + R); 1/2: both are equally likely"),
    "exact_memorisation": Words("Exact memorisation", "share of the true answer's tokens that come first"),
    "forget_quality": Words("Forget quality", "p-value; above 0.05 truth ratios are like a retrained model's"),
    "model_utility": Words("Model utility", "harmonic mean of nine numbers on what must stay"),
    "ngram_entropy": Words("N-gram entropy", "bits; low where an answer repeats itself"),
    "repetition": Words("Repetition", "share of four-word sequences that an answer has had before"),
    "unlearning_efficacy": Words("Unlearning efficacy", "how little of the wording and of the truth is told"),
    "kept_utility": Words("Utility, WPU", "harmonic mean of ROUGE-L recalls of what must stay"),
    "response_quality": Words("Response quality", "how far answers go on without repeating themselves"),
    "hallucination_avoidance": Words("Hallucination avoidance", "share of forget questions that are declined"),
    "adversarial_robustness": Words("Adversarial robustness", "share of forget questions not told after many shots"),
    "text_membership": Words("Membership of texts, AUC", "Min-40%; 1/2: texts that were learnt are like others"),
    "privleak": Words("PrivLeak, %", "0: as the retain model, below 0: members can still be told"),
    "unlearning_depth": Words("Unlearning depth", "share erased of what the layers held; 1: as if never known"),
    "harness_accuracy": Words(
        "Accuracy, lm-evaluation-harness", "share of a task's questions that are answered rightly"
    ),
    "perplexity": Words("Perplexity", "on neutral text; it should not rise"),
}
TELL_KNOWLEDGE = (
    *("recall", "judged_recall", "thought_recall", "leak_rate", "thought_leak_rate", "truth_probability"),
    "extraction_strength",
)
"""Metrics whose high values mean that the model knows what is asked: they should fall in a forget group and hold in a
keep group, whatever they say of themselves."""


def metric_words(name: str) -> Words:
    """What a metric of language models is called."""
    return words_in(METRIC_WORDS, name)


def group_words(group: str | None) -> Words:
    """What a scope group or data split is called."""
    return GROUP_WORDS.get(group or "", Words(humanise(group) if group else "all"))


def goal_of(result: Result) -> Goal:
    """Which way this number should move.

    The scope group decides for metrics that tell what the model knows; the metric's own direction for all others.
    """
    if result.name not in TELL_KNOWLEDGE or result.group not in GROUPS:
        return wording.goal_of(result)
    if result.group in GONE_GROUPS:
        return Goal.DOWN
    return Goal.UP if result.group in KEEP_GROUPS else Goal.NONE


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
    if facts:
        return fact_label(facts[0]) if len(facts) == 1 else f"{len(facts)} facts"
    if benchmark := record.request.get("benchmark"):
        return str(benchmark)
    return wording.request_label(record)
