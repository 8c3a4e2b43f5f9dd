"""The judge that a run names, beside the string check: ``evaluate.judge``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genunlearn.config.lm import LMConfig
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.judge import EmbeddingJudge, Judge, ModelJudge
from genunlearn.data.lm.telling import evenly
from genunlearn.domains.pretrained import find_device
from genunlearn.domains.sources import check_language_model, resolve_folder
from genunlearn.registry import LAB, LABS
from genunlearn.runs.lm.request import open_model

NONE, EMBEDDING = "none", "embedding"
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
"""The encoder that the threshold of `EmbeddingJudge` was chosen with."""


TRIED = 20
"""Questions that a judge is tried on."""


def check_judge(config: LMConfig) -> None:
    """Refuse a judge that is not there, before anything is measured.

    Raises:
        SourceNotFound: Its folder or hub id cannot be used.
    """
    source = config.evaluate.judge
    if source == NONE:
        return
    if encoder := _encoder(source):
        resolve_folder(encoder)
    elif source.startswith(LAB):
        LABS.line(source.removeprefix(LAB), "lm")
    else:
        check_language_model(resolve_folder(source))


def open_judge(config: LMConfig, measured: Mapping[str, Sequence[QA]]) -> Judge | None:
    """The judge, tried on some of the measured questions; None where there is none beside the string check.

    Raises:
        RunError: It does not know the truth from a refusal.
    """
    judge = _open_judge(config)
    if judge is not None:
        judge.check(evenly([item for items in measured.values() for item in items], TRIED))
    return judge


def _open_judge(config: LMConfig) -> Judge | None:
    source = config.evaluate.judge
    if source == NONE:
        return None
    if encoder := _encoder(source):
        from genunlearn.domains.lm.sentences import sentence_encoder

        device = str(find_device(config.model.device))
        return EmbeddingJudge(sentence_encoder(resolve_folder(encoder), device=device))
    return ModelJudge(open_model(config, source), max_new_tokens=config.evaluate.max_new_tokens)


def _encoder(source: str) -> str:
    """Where the sentence encoder lies; empty for a judge that is asked."""
    kind, _, place = source.partition(":")
    return (place or ENCODER) if kind == EMBEDDING else ""
