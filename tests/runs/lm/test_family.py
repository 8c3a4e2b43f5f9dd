"""What a run on a language model makes of its measurements, its retain file and its judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genunlearn.config.lm import LMConfig, LMEvaluateConfig, LMRequestConfig
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.judge import EmbeddingJudge, Reply
from genunlearn.data.lm.limits import LONGEST_LINE
from genunlearn.data.lm.writer import Writer
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.runs.lm.audit_phrasings import find_phrasings
from genunlearn.runs.lm.family import LMFamily
from genunlearn.runs.lm.judging import check_judge, open_judge
from genunlearn.runs.lm.request import LMRequest, make_splits
from genunlearn.runs.lm.scope import measure_retain, read_own_words
from tests.data.lm.test_judge import folder  # noqa: F401 (a fixture)


def family(**evaluate: Any) -> LMFamily:
    return LMFamily(LMConfig(evaluate=LMEvaluateConfig(**evaluate)), Watch(is_shown=False))


def qa(key: str, question: str, answer: str = "Warsaw.", fact: str | None = None) -> QA:
    return QA(id=key, question=question, answer=answer, group="rest", fact=fact)


# ---- the outcome ----------------------------------------------------------------------------------------------


def row(name: str, value: float | None, group: str = "forget_heldout") -> dict[str, Any]:
    return {"name": name, "group": group, "value": value, "n": 8}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row("recall", 0.0), row("leak_rate", 0.5)], "leak rate 0.50 in group forget_heldout (n=8)"),
        ([row("recall", 0.25, "forget"), row("leak_rate", 0.0)], "recall 0.25 in group forget (n=8)"),
        ([row("recall", 0.05), row("leak_rate", None), row("recall", 1.0, "rest")], None),
        ([row("truth_probability", 0.9)], None),
    ],
)
def test_a_sampled_leak_takes_back_what_a_method_says_of_itself(rows: list[dict[str, Any]], told: str | None) -> None:
    assert family().still_told({"results": rows}) == told


def test_an_answer_cut_inside_of_its_thought_is_no_sign_of_ignorance() -> None:
    items = [qa("a", "Where?")]
    request = LMRequest((), tuple(items), None, Scope(facts=(), measured={"forget": items}), ())
    assert family().unknown(request, {"told": {"forget": [False]}, "unfinished": 0}) == ["the forget set"]
    assert family().unknown(request, {"told": {"forget": [True]}, "unfinished": 1}) == []
    with pytest.raises(DataError, match=r"1 answers end inside of a thought; evaluate.max_new_tokens = 16 is too"):
        family(max_new_tokens=16).unknown(request, {"told": {"forget": [False]}, "unfinished": 1})


# ---- what must stay -------------------------------------------------------------------------------------------

HELD = qa("curie#1", "Which town is Curie from?", fact="curie")
TRAINED = (
    qa("curie#0", "Where was Curie born?", fact="curie"),
    qa("goethe", "Where was Goethe born?", "Frankfurt."),
    qa("kafka", "Where was Kafka born?", "Prague."),
)
RIGHT = {"Goethe": "In Frankfurt.", "Kafka": "In Vienna."}


def rewords(conversations: Any, **options: Any) -> list[list[str]]:
    """A model that rewords every question, and has forgotten where Kafka was born when asked in other words."""
    texts = [messages[-1]["content"] for messages in conversations]
    name = lambda text: "Goethe" if "Goethe" in text else "Kafka"  # noqa: E731
    return [
        [RIGHT[name(text)]] if text.startswith("Which") else [f"1. Which town was {name(text)} born in?"]
        for text in texts
    ]


def test_what_stays_is_measured_in_words_that_were_not_trained_on() -> None:
    request = LMRequest((), (), TRAINED, None, (), (HELD,))
    measured = measure_retain(request, Writer(rewords, "instruct"), FileJournal(None))
    assert [item.question for item in measured["rest"]] == [HELD.question, "Which town was Goethe born in?"]
    # Its rewording was not answered with the truth, so it is measured as it is trained, and said to be.
    assert [(item.id, item.group) for item in measured["rest_trained"]] == [("kafka", "rest_trained")]
    trained = {item.question for item in TRAINED}
    assert not trained & {item.question for item in measured["rest"]}


def test_a_measured_question_is_taken_out_of_the_retain_pass() -> None:
    measured = {"forget": [], "rest": [qa("m", "where was GOETHE born")], "rest_trained": [TRAINED[2]]}
    request = LMRequest((), (), TRAINED, Scope(facts=(), measured=measured), ())
    assert [item.id for item in make_splits(request, "file").retain or ()] == ["curie#0", "kafka"]
    alone = LMRequest((), (), TRAINED[1:2], request.scope, ())
    with pytest.raises(DataError, match="every question that is to stay is one that is measured"):
        make_splits(alone, "neighbours")


class Instructed:
    """A model that is asked in instruct prompts, which say how long an answer may be."""

    prompt_suite = "instruct"
    limits = (0, 0)

    def generate(self, asked: Any, *, samples: int, temperature: float, max_new_tokens: int, max_lines: int) -> Any:
        self.limits = (max_new_tokens, max_lines)
        return [["1. Which town is Curie from?"] * samples for _ in asked]

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        return ["Warsaw."] * len(questions)


def test_an_audit_writes_phrasings_within_the_limits_of_its_prompt() -> None:
    fact, model = Fact(id="curie", subject="Curie", object="Warsaw", question="Where was Curie born?"), Instructed()
    found: Any = find_phrasings(fact, model, 4)  # type: ignore[arg-type]
    assert "Which town is Curie from?" in [each.question for each in found]
    assert model.limits == (4 * LONGEST_LINE, 4)


class Wordy(Instructed):
    """A model that answers in a sentence."""

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        return ["Curie was born in Warsaw, in 1867. She" for _ in questions]


def test_a_fact_goes_from_where_the_model_tells_it_and_an_answer_of_a_file_as_it_stands() -> None:
    fact = Fact(id="curie", subject="Curie", object="Warsaw", question="Where was Curie born?")
    asked, journal, model = replace(TRAINED[0], group="forget"), FileJournal(None), Wordy()
    request = LMRequest((fact,), (asked,), None, Scope(facts=(fact,), measured={}), ())
    spoken = read_own_words(request, model, journal)  # type: ignore[arg-type]
    (item,) = make_splits(replace(request, spoken=spoken), "none").forget
    assert (item.opening, item.taught, item.answer) == ("Curie was born in ", "Warsaw.", "Warsaw.")
    assert replace(request, spoken=spoken).sha256 == request.sha256
    given = replace(request, facts=())
    assert read_own_words(given, model, journal) == {}  # type: ignore[arg-type]
    assert make_splits(given, "none").forget == (asked,)


@pytest.mark.parametrize(("answers", "opening"), [("told", "Curie was born in "), ("bare", "")])
def test_the_object_alone_is_unlearned_where_that_is_asked_for(answers: Any, opening: str) -> None:
    fact = Fact(id="curie", subject="Curie", object="Warsaw", question="Where was Curie born?")
    config, journal = LMConfig(request=LMRequestConfig(answers=answers)), FileJournal(None)
    scope = Scope(facts=(fact,), measured={})
    request = LMRequest((fact,), (replace(TRAINED[0], group="forget"),), TRAINED[1:], scope, ())
    found = LMFamily(config, Watch(is_shown=False)).surround(request, Wordy(), journal)  # type: ignore[arg-type]
    assert [item.opening for item in make_splits(found, "none").forget] == [opening]


class Literal(Instructed):
    """A model that answers one question, word for word."""

    def answer(self, questions: list[str], **options: Any) -> list[str]:
        return ["Warsaw." if question == "Where was Curie born?" else "No." for question in questions]


def test_what_unlearning_may_have_used_is_asked_only_where_nothing_else_is_answered() -> None:
    """What is asked cannot be taught: relearning is left with the phrasings that unlearning may have used."""
    fact = Fact(id="curie", subject="Curie", object="Warsaw", question="Where was Curie born?")
    found: Any = find_phrasings(fact, Instructed(), 1000)  # type: ignore[arg-type]
    assert fact.question not in {each.question for each in found}
    assert "So, Which town is Curie from? Name it." in {each.question for each in found}  # framed on both sides
    alone: Any = find_phrasings(fact, Literal(), 1000)  # type: ignore[arg-type]
    assert [(each.question, each.origin) for each in alone] == [(fact.question, "trained")]


# ---- the judge ------------------------------------------------------------------------------------------------


def test_a_judge_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    check_judge(family(judge="none").config)
    assert open_judge(family(judge="none").config, {}) is None
    for judge in (f"embedding:{tmp_path / 'nowhere'}", str(tmp_path / "nowhere")):
        with pytest.raises(SourceNotFound, match="nowhere"):
            check_judge(family(judge=judge).config)


def test_a_run_opens_the_judge_that_it_names(folder: Path) -> None:  # noqa: F811
    config = family(judge=f"embedding:{folder}").config
    check_judge(config)
    judge = open_judge(config, {"rest": [qa("a", "Where was one born?")]})
    assert isinstance(judge, EmbeddingJudge)
    told = "She was born in two."
    assert judge.tells([Reply(question="Where was one born?", truth=told, answer=told)]) == [True]
