"""What the numbers of a run on a classifier or regressor mean in plain words, beside models that never knew."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import Result, RunRecord
from genunlearn.reports import oracles
from genunlearn.reports.headline import Headline, Reading, Tone, headline_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.oracles import Findings, plain, told_apart, updates_of
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Words, run_section, words_in

ACCURACY, ERROR = "accuracy", "mean_absolute_error"
BACKDOOR = "backdoor"
FORGET_GROUPS = ("forget", "test_forget", BACKDOOR)
GROUPS = ("forget", "test_forget", "retain", "test", BACKDOOR)
SLACK = {ACCURACY: 0.02, ERROR: 0.05}
"""How far outside of the oracles' range still counts as inside: accuracy, or a share of the oracles' error."""

GROUP_WORDS = {
    "forget": Words("forget", "what was to be forgotten"),
    "test_forget": Words("test, forgotten kind", "unseen items of the forget set's kind"),
    "retain": Words("retain", "what the model was to keep"),
    "test": Words("test", "unseen items of the kinds that stay"),
    BACKDOOR: Words("backdoor", "unseen items with the trigger that get the class it was taught for"),
    "mean": Words("mean", "mean size of the gaps on forget, retain and test"),
    "matched": Words("matched", "against unseen items of the forget set's kind"),
}
METRIC_WORDS = {
    "accuracy": Words("Accuracy", "share of items whose most probable class is the true one"),
    "mean_absolute_error": Words("Mean absolute error", "in the targets' unit"),
    "mean_squared_error": Words("Mean squared error", "in the targets' unit squared"),
    "oracle_gap": Words("Gap to the oracles", "less the oracles' mean; 0 within the interval: it could be one of them"),
    "tow": Words("Tug of war (ToW)", "1 is as accurate as the oracle on forget, retain and test; n counts oracles"),
    "activation_distance": Words("Activation distance", "Euclidean, between its probabilities and the oracles'"),
    "wasserstein": Words("Wasserstein-1 distance", "between its predictions and the oracles', in their unit"),
    "zrf": Words("ZRF", "1 answers like an untrained network; compare with the oracle, do not maximise"),
    "zrf_authors": Words("ZRF, authors' arithmetic", "to be read beside published values only"),
    "mia_entropy": Words("Membership by entropy", "share of the forget set called members, as published"),
    "mia_loss": Words("Membership by loss", "share of the forget set called members, as published"),
    "mia_matched": Words("Matched membership, AUC", "against non-members of its own kind; 0.5 is chance"),
    "mia_matched_accuracy": Words("Matched membership, accuracy", "of a classifier of the loss; 0.5 is chance"),
    "rmia": Words("RMIA, AUC", "with the oracles as reference models; 0.5 is chance"),
    "rmia_tpr": Words("RMIA, share found at 1%", "true positives where 1% of non-members are called members"),
    "mia_shadow": Words("Membership with shadow models, AUC", "against held-out items; 0.5 is chance"),
    "mia_conda": Words("Membership as ConDa published it", "0.5 wherever weights have changed: it ranks nothing"),
    "anamnesis_index": Words("Anamnesis Index", "1 relearns like an oracle, less remembers, more resists"),
    "relearning_time": Words("Relearning time", "updates or passes until it knows the forget set again"),
    "inversion_likeness": Words("Model inversion", "how much pictures painted from its weights look like it"),
}

BACKDOORS = {"still known": "The backdoor is still open", "partly forgotten": "The backdoor is half open"}
"""Verdicts by what was read of the pictures with a trigger."""
NOT_MEASURED = "Nothing was measured after unlearning, so this run shows nothing about what the model still knows."
LIMITS = (
    "Being like an oracle was measured on these data with these attacks. It is no proof that no trace is left in the "
    "weights.",
    "Membership attacks of one feature are weak: that they find nothing does not mean that a stronger one would not.",
)
FEW_ORACLES = (
    "The oracles are {n} models that differ by their seed. Their spread, and so what counts as a gap, is known only "
    "roughly."
)


def words_of(name: str) -> Words:
    """What a metric is called in reports on classifiers and regressors."""
    return words_in(METRIC_WORDS, name)


def group_words(group: str | None) -> Words:
    """What a measured set is called."""
    return GROUP_WORDS.get(group or "", Words(group.replace("_", " ") if group else "all"))


def main_metric(record: RunRecord) -> str:
    """Accuracy for classifiers, mean absolute error for regressors."""
    return ERROR if record.config.get("domain") == "regression" else ACCURACY


def request_of(record: RunRecord) -> str:
    """What was to be forgotten, in a few words."""
    asked = record.request.get("forget") or run_section(record, "request").get("forget") or "unnamed forget set"
    return f"{asked} on {run_section(record, 'model').get('source', 'an unnamed model')}"


def read_group(record: RunRecord, group: str) -> Reading:
    """Where the unlearned model stands on one set: among the oracles, on the side of knowing more, or of less."""
    gap, after = record.find("oracle_gap", UNLEARNED, group), record.find(main_metric(record), UNLEARNED, group)
    if after is None or after.value is None:
        return Reading(Tone.NEUTRAL, "not measured")
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        return _without_oracle(record, group, after, oracles.NONE)
    if why_unsound(record):
        return _without_oracle(record, group, after, oracles.UNSOUND)
    before = record.find("oracle_gap", ORIGINAL, group)
    if _is_inside(record, gap):
        was_before = _is_inside(record, before)
        return oracles.among_oracles(after.n, was_before=was_before) if group in FORGET_GROUPS else oracles.LIKE
    knows_more = (gap.value > 0) == (main_metric(record) == ACCURACY)
    size = format_number(abs(gap.value))
    if group not in FORGET_GROUPS:
        return Reading(Tone.NEUTRAL, f"better by {size}") if knows_more else Reading(Tone.BAD, f"worse by {size}")
    if not knows_more:
        return Reading(Tone.WARN, f"{size} beyond the oracles")
    is_less = before is not None and before.value is not None and abs(gap.value) < 0.5 * abs(before.value)
    return Reading(Tone.WARN, "partly forgotten") if is_less else Reading(Tone.BAD, "still known")


def why_unsound(record: RunRecord) -> str | None:
    """Why the oracles are no measure, if so; errors have no level to fall short of."""
    return oracles.why_unsound(record, (ACCURACY, "retain"))


def _without_oracle(record: RunRecord, group: str, after: Result, missing: Reading) -> Reading:
    before = record.find(main_metric(record), ORIGINAL, group)
    if group in FORGET_GROUPS or before is None or before.value is None or after.value is None:
        return missing
    is_accuracy = main_metric(record) == ACCURACY
    allowed = SLACK[ACCURACY] if is_accuracy else SLACK[ERROR] * before.value
    if is_accuracy:
        lost, most = before.value - after.value, before.value - (after.value if after.low is None else after.low)
    else:
        lost, most = after.value - before.value, (after.value if after.high is None else after.high) - before.value
    if is_accuracy and before.value <= allowed:
        return Reading(Tone.NEUTRAL, "nothing to keep: not known before")
    return oracles.kept(lost, most, allowed)


def _slack(record: RunRecord, group: str) -> float:
    if main_metric(record) == ACCURACY:
        return SLACK[ACCURACY]
    oracle = record.find(ERROR, ORACLE, group)
    return SLACK[ERROR] * (oracle.value if oracle and oracle.value is not None else 0.0)


def read_items(record: RunRecord) -> Headline:
    """The outcome of a run: a verdict and the sentences under it."""
    return headline_of(record, request_of(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    read = {group: read_group(record, group) for group in GROUPS}
    if record.outcome != "collapsed" and (opened := read[BACKDOOR]).text in BACKDOORS:
        return opened.tone, BACKDOORS[opened.text]
    found = Findings(
        forget=read["forget"],
        is_worse=any(read[group].tone is Tone.BAD for group in ("retain", "test")),
        traces=traces_of(record),
        was_told_apart=bool(traces_of(record, ORIGINAL)) or oracles.LIKE in (read["test_forget"], read[BACKDOOR]),
    )
    return oracles.verdict_of(record, found, noun="model", verb="Answers", like="Like a model that never saw it")


def _evidence(record: RunRecord) -> Iterator[str]:
    """One sentence each on the forget set, what stays, and the time."""
    name = main_metric(record)
    for group in GROUPS:
        was, now, never = (record.find(name, target, group) for target in (ORIGINAL, UNLEARNED, ORACLE))
        if now is None or now.value is None:
            continue
        sentence = f"{words_of(name).label} on {group_words(group).label} went from {plain(was)} to {plain(now)}"
        known = never is not None and never.value is not None
        yield f"{sentence}; models trained without the forget set reach {plain(never)}." if known else f"{sentence}."
        if group == "forget" and _is_inside(record, record.find("oracle_gap", ORIGINAL, group)):
            yield (
                "The original answers the forget set like an oracle to begin with: this number cannot show forgetting, "
                "and membership has to."
            )
    if reason := why_unsound(record):
        yield reason
    for trace in traces_of(record):
        yield f"{trace[:1].upper()}{trace[1:]}."
    yield from oracles.time_against_retraining(record)


def traces_of(record: RunRecord, target: str = UNLEARNED) -> list[str]:
    """By what attacks tell a model from an oracle, one clause each: intervals that do not overlap."""
    found = []
    for name, attack in (("mia_matched", "a matched membership attack"), ("mia_shadow", "one with shadow models")):
        own, never = (record.find(name, one, "matched") for one in (target, ORACLE))
        if told_apart(record, target, (name, "matched")):
            found.append(f"{attack} reaches an AUC of {plain(own)}, on oracles {plain(never)}")
    steps: list[tuple[float, str]] = []
    for result in record.results:
        if result.target != target or not result.name.startswith("relearning_") or result.group in (None, "step 0"):
            continue
        never, faster = record.find(result.name, ORACLE, result.group), 1 if result.name.endswith("accuracy") else -1
        is_apart = told_apart(record, target, (result.name, result.group)) == faster
        if is_apart and never and never.value is not None and result.value is not None:
            after = f"after {updates_of(result.group)}"
            what = f"taught again, it has {plain(result)} {after}, where oracles have {plain(never)}"
            steps.append((abs(result.value - never.value), what))
    return [*found, *([max(steps)[1]] if steps else [])]


def _is_inside(record: RunRecord, gap: Result | None) -> bool:
    """Whether a model with this gap lies among the oracles."""
    if gap is None or gap.low is None or gap.high is None:
        return False
    slack = _slack(record, gap.group or "")
    return gap.low - slack <= 0 <= gap.high + slack


def limits_of(record: RunRecord) -> list[str]:
    """What this record does not show."""
    if not oracles.was_measured(record):
        return [NOT_MEASURED]
    judged = next(
        (r for r in record.results if r.name == "tow" and r.target == UNLEARNED and r.value is not None), None
    )
    found = list(LIMITS)
    if reason := oracles.why_no_oracle(record, "oracle"):
        found.insert(
            0, f"No oracle was measured ({reason}): what a model that never saw this would answer is not known."
        )
    elif judged:
        found.append(FEW_ORACLES.format(n=judged.n))
    return found
