"""What a record leaves open, in concrete sentences: evidence is not a proof of deletion."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.data.lm.facts import FORGET_GROUPS, KEEP_GROUPS, TRAINED_GROUPS
from genunlearn.records import RunRecord
from genunlearn.reports.lm.reading import recall_of, was_attacked
from genunlearn.reports.lm.wording import run_facts
from genunlearn.reports.numbers import format_number, why_missing
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED

NOTHING_MEASURED = "Nothing was measured after unlearning, so this run shows nothing about what the model still knows."
PLAIN_QUESTIONS = (
    "Only plain questions in the phrasings of the data were asked. Other languages, role play, long contexts, "
    "few-shot hints and prompts written to extract the answer were not tried."
)
JUDGED_BY_RULE = (
    "Answers were judged by rule (names, aliases, numbers, near matches). A telling in other words can slip through."
)
NO_ATTACK = (
    "No attack was run. Brief fine-tuning on related text, quantisation or a look into the hidden states may bring "
    "back what plain answers no longer show."
)
PATCH_IS_AN_ADDITION = (
    "The patch is an addition to the original weights, which still hold everything: whoever takes it off has the "
    "original model back. To hand the result on, merge the patch into the weights."
)
NAMES_WHAT_IS_GONE = (
    "This text, the record and the training examples beside it name what was to be forgotten. Share them only with "
    "people who may know it."
)


def limits(record: RunRecord) -> list[str]:
    """What this record does not show, one sentence or two each; numbers are the record's own."""
    if not any(result.target != ORIGINAL and result.value is not None for result in record.results):
        return [NOTHING_MEASURED]
    return [*_limits_of_questions(record), *_limits_of_strength(record), *_limits_of_controls(record)]


def _limits_of_questions(record: RunRecord) -> Iterator[str]:
    heldout = recall_of(record, UNLEARNED, FORGET_GROUPS[-1])
    if heldout and heldout.value is not None and heldout.high is not None:
        yield (
            f"Forgetting was measured on {_questions(heldout.n)} in held-out phrasings. The 95% interval reaches up "
            f"to {format_number(heldout.high)}: a true recall of that size cannot be told from this result."
        )
    else:
        yield "Forgetting was not measured on phrasings that unlearning never saw."
    yield PLAIN_QUESTIONS
    sampled = record.find("leak_rate", UNLEARNED, FORGET_GROUPS[-1])
    if sampled is None or sampled.value is None:
        reason = f" ({why_missing(sampled)})" if sampled else ""
        yield f"Only the most likely answer was looked at. Sampled answers were not measured{reason}."
    yield JUDGED_BY_RULE


def _limits_of_strength(record: RunRecord) -> Iterator[str]:
    if not was_attacked(record):
        yield NO_ATTACK
    if record.hashes.get("patch"):
        yield PATCH_IS_AN_ADDITION


def _limits_of_controls(record: RunRecord) -> Iterator[str]:
    oracles = [result for result in record.results if result.target == ORACLE]
    if not any(result.value is not None for result in oracles):
        reasons = dict.fromkeys(result.skipped for result in oracles if result.skipped)
        because = f" ({'; '.join(reasons)})" if reasons else ""
        yield (
            f"No oracle was measured{because}. What a model that never learnt this would answer by guessing is not "
            "known, and neither is how far the unlearned model still is from it."
        )
    groups = [group for group in KEEP_GROUPS if group not in TRAINED_GROUPS]
    if trained := sum(r.n for g in TRAINED_GROUPS if g in KEEP_GROUPS and (r := recall_of(record, UNLEARNED, g))):
        yield (
            f"{_questions(trained)} of what should stay {'was' if trained == 1 else 'were'} asked as the retain pass "
            'trains on them ("trained on"): no evidence that the same is told in other words.'
        )
    kept = [r for g in groups if (r := recall_of(record, UNLEARNED, g)) and r.value is not None]
    if kept:
        yield (
            f"What stayed was measured on {_questions(sum(result.n for result in kept))} in {len(kept)} groups. "
            "Abilities that none of them asks for may have changed."
        )
    else:
        yield "What should have stayed was not measured."
    if run_facts(record):
        yield NAMES_WHAT_IS_GONE


def _questions(n: int) -> str:
    return f"{n:,} question{'' if n == 1 else 's'}"
