"""What the numbers of a run on a recommender mean in plain words, beside models that never knew."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import Result, RunRecord
from genunlearn.reports.headline import Headline, Reading, Tone, headline_of
from genunlearn.reports.numbers import format_estimate, format_number, format_seconds
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Words, run_section, words_in

MAIN, AT = "recall", 20
FORGET = "forget"
GROUPS = (FORGET, "valid", "test")
MEMBERSHIP, RELEARNING = "choice_membership", "choice_relearning"
SLACK = 0.02
"""How far outside of the oracles' range a recall still counts as inside."""

GROUP_WORDS = {
    FORGET: Words("forget", "what was to be forgotten, among all items that its users do not keep"),
    "valid": Words("valid", "held out, of users and items that stay"),
    "test": Words("test", "held out, of users and items that stay"),
    "mean": Words("mean", "mean size of the gaps on forget, valid and test"),
    "pairs": Words("pairs", "single interactions"),
    "users": Words("users", "the mean of a user's interactions"),
}
METRIC_WORDS = {
    "recall": Words("Recall", "share of a user's items that stand in the list"),
    "ndcg": Words("NDCG", "hits discounted by rank, as a share of the best list's"),
    "precision": Words("Precision", "share of the list that a user chose"),
    "map": Words("MAP", "mean precision at the ranks of a user's items"),
    "oracle_gap": Words("Gap to the oracles", "Recall@20 less the oracles' mean; 0 in the interval: could be one"),
    MEMBERSHIP: Words("Membership, AUC", "forgotten against held-out interactions; compare with the oracle"),
    RELEARNING: Words("Relearning", "Recall@20 of one half of the forget set after updates on the other"),
}

NOT_MEASURED = "Nothing was measured after unlearning, so this run shows nothing about what the model still knows."
LIMITS = (
    "Being like an oracle was measured on these data with these attacks. It is no proof that no trace is left in the "
    "vectors.",
    "Items that stay were partly chosen by users who go: what their choices taught about others is not undone by "
    "ranking alone.",
)
SEMI_SYNTHETIC = (
    "The lab is semi-synthetic: real pictures and texts, made-up users. Its numbers compare methods and say nothing of "
    "people."
)


def words_of(name: str) -> Words:
    """What a metric is called."""
    return words_in(METRIC_WORDS, name)


def group_words(group: str | None) -> Words:
    """What a measured group is called; ``test@20`` is test with a list of 20."""
    name, at, cutoff = (group or "").partition("@")
    words = GROUP_WORDS.get(name, Words(name.replace("_", " ") or "all"))
    return Words(f"{words.label} @{cutoff}", words.meaning) if at else words


def request_of(record: RunRecord) -> str:
    """What was to be forgotten, in a few words."""
    asked = record.request.get("forget") or run_section(record, "request").get("forget") or "unnamed forget set"
    return f"{asked} on {run_section(record, 'model').get('source', 'an unnamed model')}"


def recall_of(record: RunRecord, target: str, group: str) -> Result | None:
    """Recall@20 of a model on a group."""
    return record.find(MAIN, target, f"{group}@{AT}")


def read_group(record: RunRecord, group: str) -> Reading:
    """Where the unlearned model stands: among the oracles, on the side of knowing more, or of less."""
    gap, after = record.find("oracle_gap", UNLEARNED, group), recall_of(record, UNLEARNED, group)
    if after is None or after.value is None:
        return Reading(Tone.NEUTRAL, "not measured")
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        return _without_oracle(record, group, after.value)
    if gap.low - SLACK <= 0 <= gap.high + SLACK:
        return Reading(Tone.GOOD, "like an oracle")
    size = format_number(abs(gap.value))
    if group != FORGET:
        return Reading(Tone.NEUTRAL, f"better by {size}") if gap.value > 0 else Reading(Tone.BAD, f"worse by {size}")
    if gap.value < 0:
        return Reading(Tone.WARN, f"{size} below the oracles")
    before = record.find("oracle_gap", ORIGINAL, group)
    is_less = before is not None and before.value is not None and gap.value < 0.5 * before.value
    return Reading(Tone.WARN, "partly forgotten") if is_less else Reading(Tone.BAD, "still known")


def _without_oracle(record: RunRecord, group: str, after: float) -> Reading:
    before = recall_of(record, ORIGINAL, group)
    if group == FORGET or before is None or before.value is None:
        return Reading(Tone.NEUTRAL, "no oracle to compare with")
    if before.value - after <= SLACK:
        return Reading(Tone.GOOD, "kept")
    return Reading(Tone.BAD, f"worse by {format_number(before.value - after)}")


def read_rankings(record: RunRecord) -> Headline:
    """The outcome of a run: a verdict and the sentences under it."""
    return headline_of(record, request_of(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    if record.outcome == "collapsed":
        return Tone.BAD, "The model collapsed"
    forget = read_group(record, FORGET)
    if forget.tone is Tone.NEUTRAL:
        return Tone.NEUTRAL, "Measured without an oracle"
    if forget.tone is Tone.BAD:
        return Tone.BAD, "Not forgotten"
    if forget.tone is Tone.WARN:
        return Tone.WARN, "Partly forgotten" if forget.text == "partly forgotten" else "Pushed beyond forgetting"
    if any(read_group(record, group).tone is Tone.BAD for group in GROUPS[1:]):
        return Tone.WARN, "Like an oracle on forget, at a cost to what stays"
    if traces_of(record):
        return Tone.WARN, "Ranks like an oracle, but attacks tell it apart"
    return Tone.GOOD, "Like a model that never knew"


def _evidence(record: RunRecord) -> Iterator[str]:
    for group in GROUPS:
        was, now, never = (recall_of(record, target, group) for target in (ORIGINAL, UNLEARNED, ORACLE))
        if now is None or now.value is None:
            continue
        oracles = ""
        if never is not None and never.value is not None:
            oracles = f"; models trained without the forget set reach {_plain(never)}"
        yield f"Recall@{AT} on {group} went from {_plain(was)} to {_plain(now)}{oracles}."
    for trace in traces_of(record):
        yield f"{trace[:1].upper()}{trace[1:]}."
    speed, seconds = record.cost.get("speed_up_over_retraining"), record.cost.get("unlearning_cpu_seconds")
    if speed and seconds is not None:
        yield f"It took {format_seconds(seconds)} of CPU time; retraining takes {format_number(speed)} times as long."


def traces_of(record: RunRecord) -> list[str]:
    """By what attacks tell the unlearned model from an oracle, one clause each: intervals that do not overlap."""
    found = []
    for group in ("pairs", "users"):
        own, never = (record.find(MEMBERSHIP, target, group) for target in (UNLEARNED, ORACLE))
        if _side(own, never):
            found.append(f"membership of {group} has an AUC of {_plain(own)}, on oracles {_plain(never)}")
    for result in record.results:
        if result.target == UNLEARNED and result.name == RELEARNING and result.group != "step 0":
            never = record.find(RELEARNING, ORACLE, result.group)
            if _side(result, never):
                updates = (result.group or "").removeprefix("step ")
                found.append(
                    f"told one half again, it recalls {_plain(result)} of the other after {updates} updates, where "
                    f"oracles recall {_plain(never)}"
                )
                break
    return found


def _side(own: Result | None, never: Result | None) -> int:
    """1 if the interval of the one lies above that of the other, -1 if below, 0 if they overlap or one is missing."""
    if not own or not never or own.low is None or own.high is None or never.low is None or never.high is None:
        return 0
    if own.low > never.high:
        return 1
    return -1 if own.high < never.low else 0


def _plain(result: Result | None) -> str:
    return format_estimate(result, with_n=False)


def limits_of(record: RunRecord) -> list[str]:
    """What this record does not show."""
    if not any(result.target == UNLEARNED and result.value is not None for result in record.results):
        return [NOT_MEASURED]
    found = list(LIMITS)
    if str(record.request.get("data", "")).startswith("semi-synthetic"):
        found.insert(0, SEMI_SYNTHETIC)
    reason = next((r.skipped for r in record.results if r.name == MAIN and r.target == ORACLE and r.skipped), None)
    if reason:
        found.insert(0, f"No oracle was measured ({reason}): what a model that never knew would rank is not known.")
    return found
