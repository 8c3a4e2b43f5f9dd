#!/usr/bin/env python
"""How well the check recognises true answers in other words, and how often it takes a wrong one as telling: on TOFU.

    python scripts/bench/answers.py FOLDER                                   # the string check, some 10 s
    python scripts/bench/answers.py FOLDER --judge embedding --model MODEL   # MODEL: a sentence-transformers folder

FOLDER holds TOFU's files (`locuslab/TOFU` on the hub), JSON lines: `forget10_perturbed.json`, `retain_perturbed.json`,
`real_authors_perturbed.json`, `world_facts_perturbed.json`. Their paraphrased answers are true, their perturbed ones
wrong. The interval of wrong answers is a bootstrap over questions, because those of one question share its fate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from markdown_blocks import table

from genunlearn.data.answers.judge import EmbeddingJudge, Judge, Reply, StringJudge, agreement
from genunlearn.data.rows import read_rows
from genunlearn.domains.lm.sentences import sentence_encoder
from genunlearn.ops import intervals

SETS = ("forget10_perturbed", "retain_perturbed", "real_authors_perturbed", "world_facts_perturbed")


def main() -> None:
    """Judge every set and print one table, and the agreement with the string check where another judge is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of TOFU's files")
    parser.add_argument("--judge", choices=("string", "embedding"), default="string")
    parser.add_argument("--model", type=Path, help="folder of a sentence-transformers model, for --judge embedding")
    arguments = parser.parse_args()
    if arguments.judge == "embedding" and arguments.model is None:
        parser.error("--judge embedding needs --model FOLDER")
    string = StringJudge()
    judge: Judge = EmbeddingJudge(sentence_encoder(arguments.model)) if arguments.judge == "embedding" else string
    string.tells(
        [Reply(question="Who is she?", truth="She is Marie Curie.", answer="Marie Curie.")]
    )  # loads the tables
    lines, verdicts, by_string = [], [], []
    for name in SETS:
        rows = [row.values for row in read_rows(arguments.folder / f"{name}.json")]
        replies = [reply for row in rows for reply in answers(row)]
        begin = time.process_time()
        told = judge.tells(replies)
        seconds = time.process_time() - begin
        verdicts += told
        by_string += string.tells(replies)
        lines.append([name, *shares(rows, told), f"{1000 * seconds / len(replies):.2f}"])
    print(table(["set", "true, as written", "true, paraphrased", "wrong taken as telling", "CPU ms an answer"], lines))
    if judge is not string:
        found = agreement(by_string, verdicts)
        print(
            f"\nAgreement with the string check: {found.agree} of {found.n} (kappa {found.kappa:.2f}); "
            f"{found.only_first} told by it alone, {found.only_second} by {judge.name} alone."
        )


def answers(row: dict[str, Any]) -> list[Reply]:
    """The true answer, its paraphrase where there is one, and the wrong answers, in that order."""
    texts = [row["answer"], *paraphrase(row), *row["perturbed_answer"]]
    return [Reply(question=row["question"], truth=row["answer"], answer=text) for text in texts]


def paraphrase(row: dict[str, Any]) -> list[str]:
    """The paraphrased answer, if the set has one."""
    return [row["paraphrased_answer"]] if "paraphrased_answer" in row else []


def shares(rows: list[dict[str, Any]], told: list[bool]) -> list[str]:
    """Cells with the shares of true, paraphrased and wrong answers that tell."""
    verdicts = iter(told)
    true, paraphrased, wrong = [], [], []
    for row in rows:
        true.append(next(verdicts))
        paraphrased += [next(verdicts) for _ in paraphrase(row)]
        wrong.append([next(verdicts) for _ in row["perturbed_answer"]])
    flat = [verdict for question in wrong for verdict in question]
    _, low, high = intervals.mean([sum(question) / len(question) for question in wrong])
    wrong_cell = f"{sum(flat)} of {len(flat)}: {sum(flat) / len(flat):.3f} [{low:.3f}, {high:.3f}]"
    return [share(true), share(paraphrased) if paraphrased else "none given", wrong_cell]


def share(told: list[bool]) -> str:
    """How many of how many, with the exact interval."""
    value, low, high = intervals.share(sum(told), len(told))
    return f"{sum(told)} of {len(told)}: {value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
