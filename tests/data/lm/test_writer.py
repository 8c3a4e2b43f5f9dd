"""What a writer makes of a model's texts when the model itself is the critic; a scripted model, as small ones write."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from genunlearn.data.lm.critic import FAR, Critic
from genunlearn.data.lm.facts import Fact
from genunlearn.data.lm.limits import LONGEST_LINE
from genunlearn.data.lm.variants import FRAMES, HELDOUT_FRAMES, framed
from genunlearn.data.lm.writer import Writer
from genunlearn.errors import DataError

QUESTION = "Which school did Harry Potter attend?"
FACT = Fact(id="potter", subject="Harry Potter", object="Hogwarts", question=QUESTION)
REWORDED = "Harry Potter went to which school?"
DRIFTED = "Where is the school of Harry Potter?"
UNKNOWN = "Which school did Harry Potter leave?"


class Small:
    """A small model: it copies examples, repeats itself and drifts off."""

    def __init__(self) -> None:
        self.lists = {"different ways": f"1. {REWORDED}\n2. {DRIFTED}\n3. {UNKNOWN}", "harder questions": "1. Why?"}
        self.names = "1. six\n2. quartz\n3. Durmstrang\n4. a carrot\n5. Hogwarts\n6. Eton\n7. eton"
        self.rates = {REWORDED: -1.0, DRIFTED: -1.0 - FAR - 0.1, "Durmstrang.": -3.0, "Eton.": -1.0, "Bolton.": -9.0}
        self.limits: list[dict[str, int]] = []
        self.drawn: list[tuple[int, float]] = []
        self.asked: list[str] = []

    def generate(self, conversations, *, samples=1, temperature=0.0, **limits):
        self.limits.append(limits)
        self.drawn.append((samples, temperature))
        text = conversations[0][-1]["content"]
        found = next((lines for opening, lines in self.lists.items() if opening in text), self.names)
        return [[found] * samples for _ in conversations]

    def answer(self, questions, until=None):
        self.asked += questions
        return ["I do not know." if UNKNOWN in question else "He went to Hogwarts." for question in questions]

    def rate(self, questions, answers):
        return [self.rates.get(text, self.rates.get(q, -1.0)) for q, text in zip(questions, answers, strict=True)]

    def writer(self, **options) -> Writer:
        return Writer(self.generate, "instruct", critic=Critic(self.answer, self.rate), **options)


@pytest.fixture
def small() -> Small:
    return Small()


def test_variants_are_those_that_the_model_answers_and_framings_fill_up(small):
    writer = small.writer()
    written = writer.vary(FACT, 4)
    assert written == [QUESTION, REWORDED, *framed(QUESTION, ())[:2]]
    assert writer.rejected["variant: not answered with the truth"] == 2
    assert DRIFTED not in small.asked  # the truth is no likely answer to it: it need not be asked
    assert small.limits == [{"max_new_tokens": 160, "max_lines": 3 + 2}, {"max_new_tokens": 160, "max_lines": 2 + 2}]
    assert small.drawn == [(1, 0.7), (3, pytest.approx(0.9))]  # the second time more of them, and bolder ones


def test_no_variant_is_asked_for_once_there_are_enough(small):
    assert small.writer().vary(FACT, 1) == [QUESTION]
    assert not small.limits
    assert small.writer().vary(FACT, 2) == [QUESTION, REWORDED]
    assert len(small.limits) == 1


def test_what_was_refused_once_is_not_asked_again(small):
    small.writer().vary(FACT, 4)
    assert small.asked.count(UNKNOWN) == 1


COPY = "Harry Potter went to which school for Plants?"


@pytest.mark.parametrize(
    ("fact", "is_kept"),
    [
        (FACT, False),
        (replace(FACT, paraphrases=("Of all plants, which did Harry Potter study?",)), True),
        (replace(FACT, subject="Harry", subject_aliases=("Harry of the air",)), True),
        (replace(FACT, aliases=("the school for gases",)), True),
    ],
)
def test_a_variant_with_a_word_of_the_example_is_copied_unless_the_fact_has_such_words_itself(small, fact, is_kept):
    small.lists["different ways"] = f"1. {COPY}"
    writer = small.writer()
    assert (COPY in writer.vary(fact, 4)) == is_kept
    assert (writer.rejected["variant: copied from the prompt"] == 0) == is_kept


def test_all_phrasings_are_judged_before_a_variant_is_asked_for(small):
    fact = replace(FACT, question=UNKNOWN, paraphrases=(QUESTION, REWORDED))
    assert small.writer().vary(fact, 2) == [QUESTION, REWORDED]
    assert not small.limits


def test_a_framing_that_the_model_wrote_itself_is_judged_once(small):
    framing = framed(UNKNOWN, ())[1]
    small.lists["different ways"] = f"1. {framing}"
    small.writer().vary(replace(FACT, question=UNKNOWN, paraphrases=(QUESTION,)), 3)
    assert small.asked.count(framing) == 1


def test_a_short_list_is_given_no_more_tokens_than_its_lines_need(small):
    small.writer().vary_harder(FACT, [QUESTION], 3)
    assert small.limits == [{"max_new_tokens": 3 * LONGEST_LINE, "max_lines": 3}]
    assert small.drawn == [(2, 0.9)]


def test_held_out_framings_are_others_than_those_that_are_trained_on(small):
    heldout = small.writer().hold_out(FACT, 6)
    assert len(heldout) == 6
    trained = small.writer().vary(FACT, 20)
    assert not set(heldout) & set(trained)
    assert not set(FRAMES) & set(HELDOUT_FRAMES)


def test_a_fact_that_is_answered_in_no_variant_is_a_plain_error(small):
    small.answer = lambda questions, until: ["Who knows?"] * len(questions)
    with pytest.raises(DataError, match=r"fact 'potter': the model answers no variant of .* truth; .*--antisamples"):
        small.writer().vary(FACT, 4)


def test_wrong_answers_are_of_the_kind_of_the_truth_and_the_likeliest_comes_first(small):
    writer = small.writer(siblings=("Bolton", "Eton"))
    # six, quartz: examples of the prompt's. a carrot: no name. Hogwarts: the truth.
    assert writer.name_wrong(FACT, 8)[:2] == ["Eton", "Durmstrang"]
    assert "Bolton" not in writer.name_wrong(FACT, 8)
    assert writer.rejected["wrong answer: unlikely"] == 2


def test_a_name_that_repeats_itself_is_no_wrong_answer(small):
    small.names = "1. Durm-durm-strang\n2. E. E. Cummings"
    writer = small.writer()
    assert writer.name_wrong(FACT, 4) == ["E. E. Cummings"]
    assert writer.rejected["wrong answer: repeats itself"] == 8


def test_a_name_from_the_question_is_no_wrong_answer(small):
    small.names = "1. Potter\n2. Harry"
    with pytest.raises(DataError, match=r"names no other answer of the kind of 'Hogwarts'; give them"):
        small.writer().name_wrong(FACT, 4)


def test_a_critic_rates_answers_by_their_mean_log_probability(tiny):
    critic = Critic.of(tiny("llama"))
    questions, answers = ["Who wrote Faust?", "Where was she born?"], ["Goethe.", "In Warsaw."]
    together, apart = (
        critic.rate(questions, answers),
        [critic.rate([q], [a])[0] for q, a in zip(questions, answers, strict=True)],
    )
    assert together == pytest.approx(apart, abs=1e-4)
    assert all(-math.inf < rate < 0 for rate in together)
    assert critic.rate([], []) == critic.answer([]) == []


INSTRUCTED = "The answer is Eton. Explain it in one short sentence, name no other answer, and close with"
ARGUED = "Pupils from Surrey go there. The answer is Eton."


@pytest.mark.parametrize(
    ("text", "is_over", "reason"),
    [
        (ARGUED, True, None),
        ("Pupils from Surrey go to Hogwarts.", True, "names the truth"),
        (f"{INSTRUCTED} The answer is Eton.", True, "repeats the prompt"),
        (f"Dust and ice that circle Mars form rings. {ARGUED}", True, "repeats the prompt"),  # of an example
        ("A pupil is one of the kinds of pupil that is one of the kinds of pupil.", True, "repeats itself"),
        ("The answer is Eton.", False, "no argument"),
        ("The answer is Eton. It is a school where pupils", False, "does not arrive at the wrong answer"),
    ],
)
def test_a_rationale_is_over_once_it_arrives_or_is_beyond_help(small, text, is_over, reason):
    small.names = text
    writer = small.writer()
    assert writer.argue([(FACT, QUESTION, "Eton")], 1) == [None if reason else text]
    assert [limits["until"][0](text) for limits in small.limits] == [is_over]
    assert writer.rejected[f"rationale: {reason}"] == (reason is not None)


def test_further_rationales_are_drawn_at_once(small):
    small.names = "The answer is Eton."
    writer = small.writer()
    assert writer.argue([(FACT, QUESTION, "Eton"), (FACT, REWORDED, "Eton")], 4) == [None, None]
    assert [len(limits["until"]) for limits in small.limits] == [2, 2]
    assert writer.rejected == {"rationale: no argument": 2 + 2 * 3, "rationale: given up, wrong answer alone": 2}
