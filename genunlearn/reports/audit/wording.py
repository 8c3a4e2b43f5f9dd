"""What the scores of audits are called for readers."""

from __future__ import annotations

from genunlearn.reports.wording import Words, words_in

METRIC_WORDS = {
    "asr": Words("Attack success", "share of images that show the concept"),
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
