"""What the numbers of a run on a recommender mean in plain words, beside models that never knew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from genunlearn.records import Result, RunRecord
from genunlearn.reports import oracles
from genunlearn.reports.headline import Headline, Reading, Tone, headline_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.oracles import Findings, plain, told_apart, updates_of
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Words, run_section, words_in

MAIN, AT = "recall", 20
DELETED = "recall_deleted"
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
    DELETED: Words("Recall by deletion alone", "of the original once the service has deleted, before any unlearning"),
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
        return _without_oracle(record, group, after, oracles.NONE)
    if why_unsound(record):
        return _without_oracle(record, group, after, oracles.UNSOUND)
    before = record.find("oracle_gap", ORIGINAL, group)
    deleted = _once_deleted(record, before) if group == FORGET else None
    if _is_inside(gap):
        if group == FORGET and _is_inside(deleted) and not _is_inside(before):
            return oracles.AS_DELETED
        return oracles.among_oracles(after.n, was_before=_is_inside(before)) if group == FORGET else oracles.LIKE
    size = format_number(abs(gap.value))
    if group != FORGET:
        return Reading(Tone.NEUTRAL, f"better by {size}") if gap.value > 0 else Reading(Tone.BAD, f"worse by {size}")
    if gap.value < 0:
        return Reading(Tone.WARN, f"{size} below the oracles")
    is_less = deleted is not None and deleted.value is not None and gap.value < 0.5 * deleted.value
    return Reading(Tone.WARN, "partly forgotten") if is_less else Reading(Tone.BAD, "still known")


def why_unsound(record: RunRecord) -> str | None:
    """Why the oracles are no measure, if so."""
    return oracles.why_unsound(record, (MAIN, f"valid@{AT}"))


def _once_deleted(record: RunRecord, before: Result | None) -> Result | None:
    """The original's gap on the forget set once the service has deleted its records; `before` where nobody looked."""
    was, bare = (record.find(name, ORIGINAL, f"{FORGET}@{AT}") for name in (MAIN, DELETED))
    if was is None or was.value is None or bare is None or bare.value is None:
        return before
    if before is None or before.value is None or before.low is None or before.high is None:
        return before
    shift = bare.value - was.value
    return replace(before, value=before.value + shift, low=before.low + shift, high=before.high + shift)


def _is_inside(gap: Result | None) -> bool:
    if gap is None or gap.low is None or gap.high is None:
        return False
    return gap.low - SLACK <= 0 <= gap.high + SLACK


def _without_oracle(record: RunRecord, group: str, after: Result, missing: Reading) -> Reading:
    before = recall_of(record, ORIGINAL, group)
    if group == FORGET or before is None or before.value is None or after.value is None:
        return missing
    lost, most = (before.value - value for value in (after.value, after.value if after.low is None else after.low))
    return oracles.kept(lost, most, SLACK)


def read_rankings(record: RunRecord) -> Headline:
    """The outcome of a run: a verdict and the sentences under it."""
    return headline_of(record, request_of(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    found = Findings(
        forget=read_group(record, FORGET),
        is_worse=any(read_group(record, group).tone is Tone.BAD for group in GROUPS[1:]),
        traces=traces_of(record),
        was_told_apart=bool(traces_of(record, ORIGINAL)),
    )
    return oracles.verdict_of(record, found, noun="model", verb="Ranks", like="Like a model that never knew")


def _evidence(record: RunRecord) -> Iterator[str]:
    for group in GROUPS:
        was, now, never = (recall_of(record, target, group) for target in (ORIGINAL, UNLEARNED, ORACLE))
        if now is None or now.value is None:
            continue
        reach = ""
        if never is not None and never.value is not None:
            reach = f"; models trained without the forget set reach {plain(never)}"
        yield f"Recall@{AT} on {group} went from {plain(was)} to {plain(now)}{reach}."
        if group == FORGET and (bare := record.find(DELETED, ORIGINAL, f"{FORGET}@{AT}")) and bare.value is not None:
            yield f"Deleting what the service holds of it, without any unlearning, leaves {plain(bare)}."
    if reason := why_unsound(record):
        yield reason
    for trace in traces_of(record):
        yield f"{trace[:1].upper()}{trace[1:]}."
    yield from oracles.time_against_retraining(record)


def traces_of(record: RunRecord, target: str = UNLEARNED) -> list[str]:
    """By what attacks tell a model from an oracle, one clause each: intervals that do not overlap."""
    found = []
    for group in ("pairs", "users"):
        own, never = (record.find(MEMBERSHIP, one, group) for one in (target, ORACLE))
        if told_apart(record, target, (MEMBERSHIP, group)):
            found.append(f"membership of {group} has an AUC of {plain(own)}, on oracles {plain(never)}")
    for result in record.results:
        if result.target == target and result.name == RELEARNING and result.group != "step 0":
            never = record.find(RELEARNING, ORACLE, result.group)
            if told_apart(record, target, (RELEARNING, result.group)):
                after = f"after {updates_of(result.group)}"
                found.append(
                    f"told one half again, it recalls {plain(result)} of the other {after}, where oracles recall "
                    f"{plain(never)}"
                )
                break
    return found


def limits_of(record: RunRecord) -> list[str]:
    """What this record does not show."""
    if not oracles.was_measured(record):
        return [NOT_MEASURED]
    found = list(LIMITS)
    if str(record.request.get("data", "")).startswith("semi-synthetic"):
        found.insert(0, SEMI_SYNTHETIC)
    if reason := oracles.why_no_oracle(record, MAIN):
        found.insert(0, f"No oracle was measured ({reason}): what a model that never knew would rank is not known.")
    return found
