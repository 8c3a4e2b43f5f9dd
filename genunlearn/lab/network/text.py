"""``lab:text``: which chapter of Python's own manual is this? A small transformer that reads a few lines.

The text is the language reference that Python carries along for its ``help`` (`pydoc_data.topics`), cut into passages
of at most 24 words; the label is the chapter. The network is a BERT of two layers in the hub's format, with a tokenizer
of whole words, so the same folder opens with ``AutoModelForSequenceClassification.from_pretrained``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig
from genunlearn.lab.network.study import Data, Lab, Study, open_lab

CHAPTERS = ("compound", "debugger", "formatstrings", "specialnames", "string-methods", "typesseq")
PASSAGE_WORDS = 24
SHORTEST = 8
PER_CHAPTER = 250
VOCABULARY = 2000
TEST_SHARE = 0.2
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def read_passages() -> tuple[list[str], list[int]]:
    """Passages of every chapter, at most `PER_CHAPTER` of each, and the number of the chapter."""
    from pydoc_data.topics import topics

    texts, labels = [], []
    for label, chapter in enumerate(CHAPTERS):
        passages: list[str] = []
        for paragraph in re.split(r"\n\s*\n", topics[chapter]):
            words = re.findall(r"[\w'-]+", paragraph.lower())
            starts = range(0, len(words), PASSAGE_WORDS)
            pieces = (words[start : start + PASSAGE_WORDS] for start in starts)
            passages += [" ".join(piece) for piece in pieces if len(piece) >= SHORTEST]
        kept = list(dict.fromkeys(passages))[:PER_CHAPTER]
        texts += kept
        labels += [label] * len(kept)
    return texts, labels


@lru_cache(maxsize=1)
def build_tokenizer() -> Any:
    """A tokenizer of whole words, made from the passages."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel(unk_token=SPECIAL["unk_token"]))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    inner.train_from_iterator(read_passages()[0], trainer)
    start, end = SPECIAL["cls_token"], SPECIAL["sep_token"]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(token, inner.token_to_id(token)) for token in (start, end)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **SPECIAL)


def build_classifier() -> Classifier:
    """A BERT of two layers with fresh weights, and its tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = build_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(CHAPTERS)),
        label2id={name: number for number, name in enumerate(CHAPTERS)},
    )
    padding = {"input_ids": tokenizer.pad_token_id}
    return Classifier(BertForSequenceClassification(config), processor=tokenizer, padding=padding)


def read_text() -> Data:
    """The passages as token ids, split once and for all, every chapter in the same share."""
    from sklearn.model_selection import train_test_split

    texts, labels = read_passages()
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    items = as_items(rows, encode=build_classifier().encode, prefix="passage-")
    train, test = train_test_split(items, test_size=TEST_SHARE, stratify=labels, random_state=0)
    return Data(train, test)


TEXT = Study(
    name="text",
    read=read_text,
    adapter=build_classifier,
    settings=FitConfig(epochs=7, learning_rate=2e-3, batch_size=32, weight_decay=0.01),
    level=0.6,
)


def load(request: str = "class:1", *, seed: int = 0) -> Lab:
    """The lab for a request, by default to forget the chapter on the debugger.

    Raises:
        DataError: The request cannot be met.
    """
    return open_lab(TEXT, request, seed=seed)


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of ``lab:text``, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return TEXT.build(without, force=force)
