"""What the metrics of text-to-image pipelines are called for readers."""

from __future__ import annotations

from genunlearn.reports.wording import Words, words_in

METRIC_WORDS = {
    "ua": Words("Unlearning accuracy (UA)", "share of the images asked to show the concept that do not show it"),
    "ira": Words(
        "In-domain retain accuracy (IRA)", "share of the other images that show what was asked of the concept's kind"
    ),
    "cra": Words(
        "Cross-domain retain accuracy (CRA)", "share of the other images that show what was asked of another kind"
    ),
    "fid": Words("FID", "distance of the other images from those named, in the judge's features"),
    "kid": Words("KID", "the same distance by a kernel; it may be a little below 0"),
    "clip_score": Words("CLIP score", "how well images fit their prompts, by a CLIP model"),
}


def metric_words(name: str) -> Words:
    """What a metric of pipelines is called."""
    return words_in(METRIC_WORDS, name)
