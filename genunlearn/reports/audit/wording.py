"""What audits are called for readers: their models, their scores, and what can be said of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.headline import Tone
from genunlearn.reports.wording import DECOYS, ORACLE, ORIGINAL, UNLEARNED, Words, spoken_attack, words_in

ANCHOR, DECOY = "anchor", "decoy"

MODELS = {
    ORIGINAL: "Original",
    UNLEARNED: "Audited",
    ORACLE: "Oracle",
    DECOYS: "Decoys",
    ANCHOR: "Anchor",
    DECOY: "Decoy",
}
"""Whom results are about, in the order of columns; the last three stand in where there is no oracle."""

CONTROLS = ((ORACLE,), (DECOYS,), (ANCHOR, DECOY))
"""What the audited model is set against, the better control first."""

TONES = {
    "gone": Tone.GOOD,
    "concealed": Tone.BAD,
    "present": Tone.BAD,
    "undecided": Tone.WARN,
    "damaged": Tone.BAD,
}
"""How good each verdict is; of several, the last in this order stands at the head."""

METRIC_WORDS = {
    "asr": Words("Attack success", "share of images or answers that show what should be gone"),
    "kept": Words("What must stay", "share of images of other concepts that show them; damage is judged by it"),
    "leak_at_k": Words("leak@k", "chance that any of k sampled answers tells the fact"),
    "exposure_bits": Words(
        "Exposure", "1: the truth is the likeliest of its kind, 0: the least likely; mean over phrasings"
    ),
    "exposure_p": Words("p of the exposure", "rank of the truth, as a share; uniform for a model that never knew"),
    "membership_auc": Words(
        "Membership, AUC", "chance that the fact scores above a matched non-member; 0.5 is none, compare the oracle"
    ),
    "privleak": Words(
        "PrivLeak, %", "0: like the oracle (or chance, without one), below 0: still told from what was never learnt"
    ),
    "relearn_steps": Words("Steps to relearn", "until the concept shows in half of the images"),
    "crs": Words("CRS, as published", "mean gap of distances to the two models' images; without a sign"),
    "ccs": Words("CCS, as published", "mean probability that a completed image is the original's"),
    "crs_signed": Words("CRS, signed", "above 0: nearer to the original's images than to the audited model's"),
    "ccs_controlled": Words("CCS, controlled", "the probability, by a classifier that never saw the yardstick"),
    "domain_auc": Words("AUC of the classifier", "0.5 is chance: then CRS and CCS say nothing"),
    "domain_accuracy": Words("Accuracy of the classifier", "on held-out images"),
    "normalised_leak": Words("Normalised leak", "0: like the oracle, 1: like the original, mean over psi up to 0.5"),
}


def metric_words(name: str) -> Words:
    """What a score of audits is called."""
    return words_in(METRIC_WORDS, name)


@dataclass(frozen=True)
class AuditWords:
    """What a report says of one kind of audit.

    Attributes:
        subject: What is said to be gone.
        counted: What the shares are of.
        images: The same, before anybody has judged them.
        share: What the cells of attacks mean.
        curves: What the plots show.
        scores: What the scores beside the attacks are of.
        shown: What the report does not claim.
        limits: What a verdict does not say.
    """

    subject: str
    counted: str
    images: str
    share: str
    curves: tuple[str, str]
    scores: str
    shown: str
    limits: tuple[str, ...]


_ANY_ATTACK = (
    "A verdict holds for the attacks and budgets in the table. Another attack, or a larger budget, may find more."
)
_NO_PROOF = (
    "'Gone' means that no attack brought it back more often than from a model that never knew it, within the stated "
    "tolerance; it is not a proof that no trace is left in the weights."
)
CONCEPTS = AuditWords(
    subject="Concept",
    counted="images that show the concept",
    images="images",
    share="Share of images that show the concept. The oracle never saw it: what an attack draws from the oracle, it "
    "draws from any model.",
    curves=(
        "With increasing guidance by the original",
        "psi is the share of the denoising steps that the original has made before the other model went on. Whiskers "
        "are 95% intervals over seeds.",
    ),
    scores="Scores of completed images",
    shown="It shows what these attacks drew, and no more.",
    limits=(
        _ANY_ATTACK,
        _NO_PROOF,
        "Where there is no oracle, the original stands in, asked for the anchor and, in the concept's place, for a "
        "word that no model knows: what shows more often than in both is concealed, what shows no more often than in "
        "either is gone. Such a verdict is weaker than one beside an oracle.",
        "The oracle stands for 'never learnt'. From psi of about 0.5 on it ends the image as the original would, since "
        "the original has then drawn it already: such a recovery says nothing about the audited model.",
        "CRS and CCS as published grow with any difference between the two models, of whatever kind. Where the "
        "classifier behind them is near chance (AUC about 0.5), they say nothing at all.",
    ),
)
FACTS = AuditWords(
    subject="Fact",
    counted="answers that tell the fact",
    images="answers",
    share="Share of questions that are answered with the truth. The oracle never knew it: what an attack brings out of "
    "the oracle, it brings along itself. Decoys are facts of the same shape about invented subjects, asked of the "
    "audited model.",
    curves=("With a growing budget", "Whiskers are 95% intervals over questions."),
    scores="Where the truth ranks among answers of its kind, and whether it looks like training data",
    shown="It shows what these attacks brought out, and no more.",
    limits=(
        _ANY_ATTACK,
        _NO_PROOF,
        "Phrasings of one fact are not independent of each other: intervals and tests speak of these questions, and of "
        "a fact only as far as they stand for all ways of asking.",
        "Decoys cannot be inferred from anything. A fact that follows from others is told more often than they are, by "
        "a model that never saw it too; an oracle alone shows that.",
        "Exposure reads ranks from both ends: unlearning that pushes the truth below what a model that never knew "
        "gives it marks it as well.",
        "An attack that fails on the original as well has no power over this kind of model; that it finds nothing says "
        "nothing.",
        "A lens and a probe read hidden states, and membership scores log-probabilities: what they find need never be "
        "said aloud.",
        "A LoRA can always be taken off: that the base still knows is no recovery from the model with it, and decides "
        "nothing.",
    ),
)


def words_of(*records: RunRecord) -> AuditWords:
    """The words for audits of one kind."""
    return FACTS if any(record.config.get("domain") == "lm" for record in records) else CONCEPTS


def spoken_verdict(row: Mapping[str, Any]) -> str:
    """The verdict, and that no oracle was asked where surrogates stood in for one."""
    is_beside = row.get("surrogates") and row["verdict"] in ("gone", "concealed")
    return f"{row['verdict']}, beside surrogates" if is_beside else str(row["verdict"])


def subject_of(record: RunRecord) -> str:
    """What an audit is of, in a few words."""
    return ", ".join(map(str, record.request.get("concepts", ()))) or "an audit"


def recovered_at(row: Mapping[str, Any]) -> list[str]:
    """Every attack and strength that brings the subject back; earlier records name the weakest strength of each."""
    return list(row.get("recovered_at") or row["recovered_by"])


def recovery_sentence(row: Mapping[str, Any]) -> str:
    """What recovers the subject at its weakest strength, and how often; empty where nothing does."""
    if not row["recovered_by"]:
        return ""
    return f"Recovered by {'; '.join(_recovery(row, label) for label in row['recovered_by'])}."


def _recovery(row: Mapping[str, Any], label: str) -> str:
    named = ((", ".join(filter(None, (c["attack"], c["strength"]))), c) for c in row["comparisons"])
    found = next((comparison for name, comparison in named if name == label), None)
    if found is None or not (control := control_of(found)):
        return spoken_attack(label)
    mine, its = found["shares"][UNLEARNED], found["shares"][control]
    return f"{spoken_attack(label)} ({mine['shown']} of {mine['n']}, {control} {its['shown']} of {its['n']})"


def control_of(comparison: Mapping[str, Any]) -> str:
    """The oracle, else decoys, else the surrogate that shows it more often; empty where nothing is compared with.

    Of what brings the answer along itself the oracle is the only control.
    """
    for names in CONTROLS[:1] if comparison.get("carries_in") else CONTROLS:
        found = {name: share for name in names if (share := comparison["shares"].get(name))}
        if found:
            return max(found, key=lambda name: found[name]["shown"] / found[name]["n"])
    return ""
