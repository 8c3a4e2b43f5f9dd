"""What the numbers of a run on a graph network mean in plain words, beside networks that never knew."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import RunRecord
from genunlearn.reports import oracles
from genunlearn.reports.cells import Column
from genunlearn.reports.headline import Headline, Reading, Tone, headline_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.oracles import Findings, plain, told_apart
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Words, run_section, words_in

FORGET_GROUPS = ("forget", "test_forget")
NODE_ROWS: tuple[Column, ...] = tuple(("accuracy", group) for group in ("forget", "test_forget", "retain", "test"))
LINK_ROWS: tuple[Column, ...] = (("df_auc", "forget"), ("auc", "test"), ("accuracy", "retain"))
SLACK = 0.02
"""How far outside of the oracles' range still counts as inside."""

GROUP_WORDS = {
    "forget": Words("forget", "what was to be forgotten"),
    "test_forget": Words("test, forgotten class", "unseen nodes of the forgotten class"),
    "retain": Words("retain", "what the network was to keep"),
    "test": Words("test", "what was never learnt"),
    "mean": Words("mean", "mean size of the gaps on forget and test"),
}
METRIC_WORDS = {
    "accuracy": Words("Accuracy", "share of nodes whose class is told, or of pairs told rightly"),
    "auc": Words("Test AUC", "of unseen links against pairs without one"),
    "average_precision": Words("Test average precision", "of unseen links among pairs without one"),
    "df_auc": Words("Deleted-link AUC", "1 tells all deleted links from retained ones, 0.5 none"),
    "oracle_gap": Words("Gap to the oracles", "less the oracles' mean; 0 within the interval: it could be one of them"),
    "consistency": Words("Consistency", "share of the forget set on which it decides as oracles do"),
    "integrity": Words("Integrity", "share of what stays on which it decides as oracles do"),
    "membership_ratio": Words("Membership ratio", "how much surer an attacker was before; 1 is no change"),
    "membership": Words("Membership, AUC", "against unseen items that are asked alike; 0.5 is chance"),
    "link_stealing": Words("Link stealing, AUC", "deleted links told by how alike answers are; 0.5 is chance"),
}
NOT_MEASURED = "Nothing was measured after unlearning, so this run shows nothing about what the network still knows."
LIMITS = (
    "All networks are asked on the graph without what was to be forgotten. What they answer on the old graph, which "
    "somebody may still hold, is not looked at.",
    "Being like an oracle was measured on these data with these attacks. It is no proof that no trace is left in the "
    "weights.",
)


def words_of(name: str) -> Words:
    """What a metric is called in reports on graph networks."""
    return words_in(METRIC_WORDS, name)


def group_words(group: str | None) -> Words:
    """What a measured set is called."""
    return GROUP_WORDS.get(group or "", Words(group.replace("_", " ") if group else "all"))


def task_of(record: RunRecord) -> str:
    """``node`` or ``link``."""
    return str(record.request.get("task") or ("link" if any(r.name == "df_auc" for r in record.results) else "node"))


def rows_of(record: RunRecord) -> tuple[Column, ...]:
    """The numbers that a report leads with: metric and set."""
    return LINK_ROWS if task_of(record) == "link" else NODE_ROWS


def request_of(record: RunRecord) -> str:
    """What was to be forgotten, in a few words."""
    asked = record.request.get("forget") or run_section(record, "request").get("forget") or "unnamed forget set"
    model = run_section(record, "model")
    network = record.request.get("network") or model.get("network", "network")
    return f"{asked} on {model.get('source', 'an unnamed model')} ({network})"


def why_unsound(record: RunRecord) -> str | None:
    """Why the oracles are no measure, if so."""
    return oracles.why_unsound(record, ("auc", "test") if task_of(record) == "link" else ("accuracy", "retain"))


def read_row(record: RunRecord, column: Column) -> Reading:
    """Where the unlearned network stands: among the oracles, on the side of knowing more, or of less."""
    name, group = column
    before, after, never = (record.find(name, target, group) for target in (ORIGINAL, UNLEARNED, ORACLE))
    if after is None or after.value is None:
        return Reading(Tone.NEUTRAL, "not measured")
    if never is None or never.value is None:
        return oracles.NONE
    if why_unsound(record):
        return oracles.UNSOUND
    gap = after.value - never.value
    half = 0.0
    if name != "accuracy" or task_of(record) == "node":
        found = record.find("oracle_gap", UNLEARNED, group)
        if found is None or found.value is None or found.high is None:
            return oracles.NONE
        half = found.high - found.value
    first = None if before is None or before.value is None else before.value - never.value
    if abs(gap) <= half + SLACK:
        was_before = first is not None and abs(first) <= half + SLACK
        return oracles.among_oracles(after.n, was_before=was_before) if group in FORGET_GROUPS else oracles.LIKE
    knows_more = gap > 0 if name != "df_auc" else gap < 0
    size = format_number(abs(gap))
    if group not in FORGET_GROUPS:
        return Reading(Tone.NEUTRAL, f"better by {size}") if knows_more else Reading(Tone.BAD, f"worse by {size}")
    if not knows_more:
        return Reading(Tone.WARN, f"{size} beyond the oracles")
    is_less = first is not None and abs(gap) < 0.5 * abs(first)
    return Reading(Tone.WARN, "partly forgotten") if is_less else Reading(Tone.BAD, "still known")


def read_graph_run(record: RunRecord) -> Headline:
    """The outcome of a run: a verdict and the sentences under it."""
    return headline_of(record, request_of(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    first, *others = rows_of(record)
    found = Findings(
        forget=read_row(record, first),
        is_worse=any(read_row(record, row).tone is Tone.BAD for row in others if row[1] not in FORGET_GROUPS),
        traces=_traces(record, UNLEARNED),
        was_told_apart=bool(_traces(record, ORIGINAL))
        or any(read_row(record, row) == oracles.LIKE for row in others if row[1] in FORGET_GROUPS),
    )
    return oracles.verdict_of(record, found, noun="network", verb="Answers", like="Like a network that never saw it")


def _evidence(record: RunRecord) -> Iterator[str]:
    """One sentence a leading number, on attacks, and on the time."""
    for name, group in rows_of(record):
        was, now, never = (record.find(name, target, group) for target in (ORIGINAL, UNLEARNED, ORACLE))
        if now is None or now.value is None:
            continue
        reach = f"; oracles reach {plain(never)}" if never and never.value is not None else ""
        label = words_of(name).label
        where = "" if name in ("auc", "df_auc") else f" on {group_words(group).label}"
        yield f"{label}{where} went from {plain(was)} to {plain(now)}{reach}."
    if reason := why_unsound(record):
        yield reason
    yield from _traces(record, UNLEARNED)
    yield from oracles.time_against_retraining(record)


def _traces(record: RunRecord, target: str) -> list[str]:
    """Attacks that find more or less in a network than in the oracles, beyond the intervals of both."""
    found = []
    for name in ("membership", "link_stealing"):
        own, never = (record.find(name, one, None) for one in (target, ORACLE))
        if told_apart(record, target, (name, None)):
            found.append(f"{words_of(name).label} is {plain(own)}, where oracles have {plain(never)}.")
    return found


def limits_of(record: RunRecord) -> list[str]:
    """What this record does not show."""
    if not oracles.was_measured(record):
        return [NOT_MEASURED]
    reason = oracles.why_no_oracle(record, "oracle")
    missing = f"No oracle was measured ({reason}): what a network that never saw this would answer is not known."
    return [missing, *LIMITS] if reason else list(LIMITS)
