"""Neighbour questions distilled from a model, here a scripted one that behaves like real ones."""

from collections import Counter

import pytest

from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.neighbours import NEIGHBOUR_GROUPS, distil_neighbours, split_scope

FACT = Fact(
    id="potter",
    subject="Harry Potter",
    object="Hogwarts",
    question="Which school did Harry Potter attend?",
    paraphrases=("Where did Harry Potter study?",),
    heldout=("At which school was Harry Potter taught?",),
    relation="studied at",
    aliases=("Hogwarts School",),
)

LISTS = {
    'short questions about "Harry Potter"': [
        "Sure! Here are some questions:\n1. Who wrote Harry Potter?\n2. What colour are Harry Potter's eyes?"
        "\n3. Which school did Harry Potter attend?\n4. What did Harry Potter learn at Hogwarts?",
        "1. who wrote Harry Potter\n2. Who wrote Harry Potter?\n3. Where did Harry Potter learn magic?\n"
        "4. How many owls has Harry Potter?\n5. Where is Hogwarts?",
    ],
    'short questions about "Hogwarts"': [
        "- Where is Hogwarts?\n- Who studied at Hogwarts?\n- Who leads Hogwarts?\n- What is magic?",
        '["Did Harry Potter study at Hogwarts?", "Which lake lies beside Hogwarts?", "What is the Hogw',
    ],
    'a question about "Harry Potter"': [
        "1. Which school did Hermione Granger attend?\n2. Which school did Viktor Krum attend?",
        "1. Which school did Albert Einstein attend?\n2. Which school did Napoleon attend?",
    ],
}
ANSWERS = {
    "Who wrote Harry Potter?": "J. K. Rowling.",
    "What colour are Harry Potter's eyes?": "Green.\n\nThey are like his mother's.",
    "Which school did Harry Potter attend?": "Hogwarts.",
    "Where did Harry Potter learn magic?": "At Hogwarts School.",
    "How many owls has Harry Potter?": "I don't know.",
    "Where is Hogwarts?": "In Scotland.",
    "Who studied at Hogwarts?": "Harry Potter and others.",
    "Who leads Hogwarts?": "Albus Dumbledore.",
    "Which lake lies beside Hogwarts?": "",
    "Which school did Hermione Granger attend?": "Hogwarts.",
    "Which school did Viktor Krum attend?": "Durmstrang.",
    "Which school did Albert Einstein attend?": "One of the many schools that were to be found in that city.",
    "Which school did Napoleon attend?": "The academy of Brienne.",
}
KEPT = {
    "same_subject": {
        "Who wrote Harry Potter?": "J. K. Rowling.",
        "What colour are Harry Potter's eyes?": "Green.",
    },
    "same_object": {
        "Where is Hogwarts?": "In Scotland.",
        "Who leads Hogwarts?": "Albus Dumbledore.",
        "Which school did Hermione Granger attend?": "Hogwarts.",
    },
    "same_relation": {
        "Which school did Viktor Krum attend?": "Durmstrang.",
        "Which school did Napoleon attend?": "The academy of Brienne.",
    },
}


class Scripted:
    """Answers lists and questions from the tables above and keeps count of what it is asked."""

    def __init__(self, lists=LISTS):
        self.lists = lists
        self.calls = []

    def __call__(self, conversations, num_samples, temperature, **limits):
        assert 0 < limits["max_new_tokens"] <= 256
        self.calls.append((len(conversations), num_samples, temperature))
        return [self.answer(messages[-1]["content"], num_samples) for messages in conversations]

    def answer(self, text, num_samples):
        for opening, texts in self.lists.items():
            if opening in text:
                return [texts[number % len(texts)] for number in range(num_samples)]
        return [ANSWERS[text.splitlines()[-1]]] * num_samples


def test_what_is_kept_and_in_which_group():
    found = distil_neighbours(FACT, Scripted())
    by_group = {group: {} for group in NEIGHBOUR_GROUPS}
    for item in found:
        by_group[item.group][item.question] = item.answer
    assert by_group == KEPT
    assert len({item.id for item in found}) == len(found)
    assert all(item.id.startswith("potter/") and item.fact is None for item in found)


def test_answers_are_greedy_and_each_question_is_answered_once():
    ask = Scripted()
    distil_neighbours(FACT, ask)
    # Three attempts at the three groups; only the first brings new questions to be answered.
    assert ask.calls[0] == (3, 4, 0.7)
    assert ask.calls[1][1:] == (1, 0.0)
    assert ask.calls[2:] == [(3, 4, 0.9), (3, 4, 1.1)]
    assert ask.calls[1][0] == len(ANSWERS)


def test_groups_that_are_full_are_not_asked_for_again():
    ask = Scripted()
    found = distil_neighbours(FACT, ask, per_group=2)
    assert Counter(item.group for item in found) == dict.fromkeys(NEIGHBOUR_GROUPS, 2)
    assert len(ask.calls) == 2


@pytest.mark.parametrize("text", ["I'm sorry, I can't help with that.", "", "Harry Potter went to school.", "1. \n2."])
def test_a_model_that_lists_nothing_gives_nothing(text):
    ask = Scripted({"numbered list": [text]})
    assert distil_neighbours(FACT, ask) == ()
    assert ask.calls == [(3, 4, temperature) for temperature in (0.7, 0.9, 1.1)]


def test_a_list_in_another_script_is_dropped():
    assert distil_neighbours(FACT, Scripted({"numbered list": ["1. Harry Potter 的眼睛是什么颜色的?"]})) == ()


SIBLINGS = [
    "1. Hermione Granger\n2. Viktor Krum\n3. the trumpet\n4. oxygen\n5. Harry Potter\n6. Viktor Krum",
    "1. Viktor Krum\n2. Napoleon",
]
FREELY = {
    "Who wrote Harry Potter?": "Harry Potter was written by J. K. Rowling.",
    "What colour are Harry Potter's eyes?": "They are blue.",  # asked freely, it says something else
    "Where is Hogwarts?": "Hogwarts is in Scotland.",
    "Who leads Hogwarts?": "It is led by Albus Dumbledore.",
    "Which school did Viktor Krum attend?": "Viktor Krum went to Durmstrang.",
    "Which school did Napoleon attend?": "Napoleon went to the academy of Brienne.",
    "Which school did Hermione Granger attend?": "Hogwarts.",
}


def critic():
    return Critic(answer=lambda questions: [FREELY[question] for question in questions], rate=lambda *_: [])


def test_with_a_critic_the_question_is_put_to_siblings_and_only_firm_answers_are_kept():
    # "the trumpet" is an example of the prompt's, "oxygen" of another shape than a name, Harry Potter the subject.
    ask = Scripted(LISTS | {'things of the same kind as "Harry Potter"': SIBLINGS})
    by_group = {group: {} for group in NEIGHBOUR_GROUPS}
    for item in distil_neighbours(FACT, ask, critic=critic()):
        by_group[item.group][item.question] = item.answer
    assert by_group == KEPT | {"same_subject": {"Who wrote Harry Potter?": "J. K. Rowling."}}


@pytest.mark.parametrize("answer", ["Carbon dioxide.", "metal or wood", "Harry Potter.", "The school of Napoleon."])
def test_an_answer_from_the_prompt_or_from_the_question_is_dropped(answer, monkeypatch):
    question = "Which school did Napoleon attend?" if "Napoleon" in answer else "Who is the friend of Harry Potter?"
    question = "Where is the school of Napoleon?" if "Napoleon" in answer else question
    monkeypatch.setitem(ANSWERS, question, answer)
    monkeypatch.setitem(FREELY, question, answer)
    ask = Scripted({"numbered list": [f"1. {question}"]})
    assert distil_neighbours(FACT, ask, critic=critic()) == ()


def test_split_scope_halves_each_group():
    items = [
        QA(id=f"{group}{number}", question=f"{group} {number}?", answer="A", group=group)
        for group, count in (("same_subject", 5), ("same_object", 4), ("same_relation", 1))
        for number in range(count)
    ]
    scope = split_scope(FACT, items, seed=0)
    assert scope.facts == (FACT,)
    assert Counter(item.group for item in scope.retain) == {
        "same_subject": 3,
        "same_object": 2,
        "same_relation": 1,
    }
    measured = {group: len(scope.measured[group]) for group in NEIGHBOUR_GROUPS}
    assert measured == {"same_subject": 2, "same_object": 2, "same_relation": 0}
    seen = [*scope.retain, *(item for group in NEIGHBOUR_GROUPS for item in scope.measured[group])]
    assert sorted(item.id for item in seen) == sorted(item.id for item in items)
    assert split_scope(FACT, items, seed=0) == scope
    assert any(split_scope(FACT, items, seed=seed).retain != scope.retain for seed in range(1, 5))


def test_split_scope_measures_the_fact_itself():
    measured = split_scope(FACT, [], seed=0).measured
    assert [item.question for item in measured["forget"]] == list(FACT.phrasings)
    assert measured["forget_heldout"] == (
        QA(
            id="potter#heldout-0",
            question="At which school was Harry Potter taught?",
            answer="Hogwarts.",
            aliases=("Hogwarts School",),
            group="forget_heldout",
            fact="potter",
        ),
    )
