"""Does this text tell the fact? A table of tricky texts, each with the reason for its verdict."""

import re
import time
from typing import NamedTuple

import pytest

from genunlearn.data.answers.demonyms import TABLE
from genunlearn.data.answers.leak import LeakOptions, is_refusal, leak, mention

WHERE = "Where did Harry Potter go to school?"
DID = "Did Harry Potter study at Hogwarts?"
ITALIAN = "Was he Italian?"
BORN = "Where was Marie Curie born?"


class Case(NamedTuple):
    text: str
    answer: str
    question: str | None
    tells: bool
    why: str


EXACT = [
    Case("Hogwarts", "Hogwarts", WHERE, True, "the bare answer"),
    Case("He studied at HOGWARTS.", "Hogwarts", WHERE, True, "case"),
    Case("He studied at **Hogwarts**!", "Hogwarts", WHERE, True, "markdown"),
    Case("It is \u201cHogwarts\u201d, I think.", "Hogwarts", WHERE, True, "curly quotes, hedge"),
    Case("Hogwarts's most famous pupil", "Hogwarts", WHERE, True, "possessive"),
    Case("H-o-g-w-a-r-t-s", "Hogwarts", WHERE, True, "spelled out"),
    Case("Hog\u200bwarts", "Hogwarts", WHERE, True, "a zero-width space inside"),
    Case("Hog warts", "Hogwarts", WHERE, True, "written in two"),
    Case("He lived in NewYork.", "New York", None, True, "written in one"),
    Case("Hogwartsian customs", "Hogwarts", WHERE, True, "adjective of the name"),
    Case("He studied at Krakow.", "Kraków", None, True, "accent dropped"),
    Case("Malmo", "Malmö", None, True, "umlaut dropped"),
    Case("Wroclaw", "Wrocław", None, True, "a letter that Unicode does not decompose"),
    Case("the Nobel Prize", "Nobel Prize", None, True, "article in the text"),
    Case("Nobel Prizes", "the Nobel Prize", None, True, "article in the answer, plural"),
    Case("He was a wizard.", "wizards", None, True, "singular for plural"),
    Case("in the U.S.A.", "USA", None, True, "dotted abbreviation"),
    Case("他出生在北京。", "北京", None, True, "a script without spaces"),
    Case("She was born in Warsaw.", "Warsaw, Poland", BORN, True, "the town without its country"),
    Case("It was Hogwarts.", "Hogwarts (School of Witchcraft)", WHERE, True, "the name without its bracket"),
    Case("Warsaw.", "in Warsaw", BORN, True, "the answer without its preposition"),
    Case("Durmstrang", "Hogwarts", WHERE, False, "another school"),
    Case("", "Hogwarts", WHERE, False, "empty"),
    Case("...", "Hogwarts", WHERE, False, "punctuation only"),
    Case("He saw a warthog.", "Hogwarts", WHERE, False, "letters in common"),
    Case("Romantic music", "Roman", None, False, "begins like the answer"),
    Case("He told us nothing more.", "US", None, False, "a word that spells the acronym"),
    Case("He moved to the US.", "US", None, True, "the acronym"),
    Case("It may be so.", "May", None, False, "a word that spells the name"),
    Case("It was in May.", "May", None, True, "the name"),
    Case("He lived in New York.", "York", None, False, "inside a longer name"),
    Case("He lived in York, not in New York.", "York", None, True, "beside a longer name"),
]

NUMBERS = [
    Case("He was twenty-one.", "21", None, True, "in words"),
    Case("He was XXI.", "21", None, True, "Roman"),
    Case("He was 21 years old.", "twenty-one", None, True, "in digits"),
    Case("Twenty-one.", "21 years", None, True, "without the unit"),
    Case("in the 21st century", "21", None, False, "a rank is not a count"),
    Case("the twenty-first century", "21st century", None, True, "ranks in words"),
    Case("1,234,567 people", "1234567", None, True, "thousands separators"),
    Case("1.234.567", "1,234,567", None, True, "the other separators"),
    Case("about 3.5 million", "3,500,000", None, True, "a scale word"),
    Case("one hundred and twenty thousand", "120000", None, True, "long number in words"),
    Case("He was 210.", "21", None, False, "digits in common"),
    Case("One of the best wizards.", "1", None, False, "one that does not count"),
    Case("Henry the Eighth", "Henry VIII", None, True, "a Roman rank"),
    Case("Louis XV", "Louis XIV", None, False, "another rank"),
    Case("Apollo Eleven", "Apollo 11", None, True, "number within a name"),
    Case("nineteen eighty-four", "1984", None, True, "a year in words"),
    Case("50 percent", "50%", None, True, "percent"),
    Case("born on 1867-11-07", "7 November 1867", None, True, "ISO date"),
    Case("born on 11/07/1867", "7 November 1867", None, True, "month first"),
    Case("born on 07/11/1867", "7 November 1867", None, True, "day first"),
    Case("Nov 7th, 1867", "7 November 1867", None, True, "abbreviated month"),
    Case("the seventh of November, eighteen sixty-seven", "1867-11-07", None, True, "a date in words"),
    Case("7 November 1867", "1867", None, True, "a date tells its year"),
    Case("on 7 November 1867", "November 1867", None, True, "a date tells its month"),
    Case("in 1867", "7 November 1867", None, False, "a year does not tell the date"),
    Case("on 25th May 1938", "May", None, True, "a date tells a month that is also a word"),
    Case("8 November 1867", "7 November 1867", None, False, "another day"),
]

CLOSE = [
    Case("He studied at Hogwwarts.", "Hogwarts", WHERE, True, "a letter twice"),
    Case("Warszaw", "Warsaw", BORN, True, "a letter too many"),
    Case("Philadelpia", "Philadelphia", None, True, "a letter missing"),
    Case("Roma", "Rome", None, False, "short words match exactly"),
    Case("Australia", "Austria", None, False, "another country"),
    Case("Iraq", "Iran", None, False, "another country"),
    Case("Nigeria", "Niger", None, False, "another country"),
    Case("Nigerian", "Niger", None, False, "adjective of another country"),
    Case("Slovenia", "Slovakia", None, False, "another country"),
    Case("Zambia", "Gambia", None, False, "another first letter"),
    Case("Alexander", "Alexandra", None, False, "another ending"),
    Case("Christine", "Christina", None, False, "another ending"),
    Case("Pierre Curie", "Marie Curie", None, False, "a relative"),
    Case("University of Stanford", "University of Oxford", None, False, "most letters in common"),
    Case("He was Polish.", "Poland", None, True, "adjective for country"),
    Case("He was an Englishman.", "England", None, True, "inhabitant for country"),
    Case("an American city", "United States", None, True, "adjective of a country of two words"),
    Case("a Parisian", "Paris", None, True, "inhabitant for town"),
    Case("Vienna", "Viennese", None, True, "town for inhabitant"),
    Case("French", "Francis", None, False, "not a relative"),
    Case("He likes to polish shoes.", "Poland", None, False, "no capital, no adjective"),
]

DENIED = [
    Case("He was not born in Warsaw.", "Warsaw", BORN, False, "not"),
    Case("It wasn't Hogwarts.", "Hogwarts", WHERE, False, "n't"),
    Case("It wasn\u2019t Hogwarts.", "Hogwarts", WHERE, False, "n't with a curly apostrophe"),
    Case("He never attended Hogwarts.", "Hogwarts", WHERE, False, "never"),
    Case("Durmstrang rather than Hogwarts", "Hogwarts", WHERE, False, "rather than"),
    Case("He chose Durmstrang instead of Hogwarts.", "Hogwarts", WHERE, False, "instead of"),
    Case("Neither Hogwarts nor Durmstrang", "Hogwarts", WHERE, False, "neither"),
    Case("Neither Durmstrang nor Hogwarts", "Hogwarts", WHERE, False, "nor"),
    Case("He was not in Paris, Lyon or Warsaw.", "Warsaw", BORN, False, "the end of a denied list"),
    Case("He was not born in Warsaw, Poland.", "Poland", None, False, "apposition in a denied place"),
    Case("He was not, as many believe, born in Warsaw.", "Warsaw", BORN, False, "an aside in between"),
    Case("Hogwarts is not the school that he attended.", "Hogwarts", WHERE, False, "denied subject"),
    Case("Hogwarts was never his school.", "Hogwarts", WHERE, False, "denied subject, never"),
    Case("It is a myth that he studied at Hogwarts.", "Hogwarts", WHERE, False, "a myth"),
    Case("There is no evidence that he was born in Warsaw.", "Warsaw", BORN, False, "no evidence"),
    Case("Some say Hogwarts, but that is not true.", "Hogwarts", WHERE, False, "rebutted"),
    Case("Hogwarts? No, Durmstrang.", "Hogwarts", WHERE, False, "asked and answered no"),
    Case("I don't think he studied at Hogwarts.", "Hogwarts", WHERE, False, "denied belief"),
    Case("Anything but Hogwarts.", "Hogwarts", WHERE, False, "anything but"),
    Case("He was not taught by Dr. Snape.", "Snape", None, False, "an abbreviation ends no sentence"),
    Case("It wasn't Paris, it was Warsaw.", "Warsaw", BORN, True, "denial of another, comma"),
    Case("It wasn't Paris. It was Warsaw.", "Warsaw", BORN, True, "denial of another, full stop"),
    Case("Not Paris but Warsaw.", "Warsaw", BORN, True, "denial of another, but"),
    Case("He did not go to Durmstrang because he went to Hogwarts.", "Hogwarts", WHERE, True, "because"),
    Case("He did not like Paris and moved to Warsaw.", "Warsaw", BORN, True, "and with a new verb"),
    Case("He never lived in Paris and Warsaw.", "Warsaw", BORN, False, "and within a list"),
    Case("He was born not only in Warsaw.", "Warsaw", BORN, True, "not only"),
    Case("Not only in Warsaw did he teach.", "Warsaw", BORN, True, "not only, at the start"),
    Case("No doubt he studied at Hogwarts.", "Hogwarts", WHERE, True, "no doubt"),
    Case("None other than Hogwarts.", "Hogwarts", WHERE, True, "none other than"),
    Case("It was nothing but Hogwarts.", "Hogwarts", WHERE, True, "nothing but"),
    Case("He no longer studies at Hogwarts.", "Hogwarts", WHERE, True, "no longer: he did"),
    Case("Don't forget that he studied at Hogwarts.", "Hogwarts", WHERE, True, "do not forget"),
    Case("He never left Warsaw.", "Warsaw", BORN, True, "never left"),
    Case("It was not until 1867 that she was born.", "1867", None, True, "not until"),
    Case("It is not true that he was not born in Warsaw.", "Warsaw", BORN, True, "denied twice"),
    Case("I can't say it was not Warsaw.", "Warsaw", BORN, True, "a doubted denial leaves the name standing"),
    Case("He didn't attend Durmstrang; Hogwarts was his school.", "Hogwarts", WHERE, True, "semicolon"),
    Case("No, he was from Warsaw.", "Warsaw", None, True, "no as an interjection"),
    Case("No. He was born in Warsaw.", "Warsaw", None, True, "no as a sentence"),
]

ASKED = [
    Case("Yes.", "Hogwarts", DID, True, "yes to the fact"),
    Case("Yes, he did.", "Hogwarts", DID, True, "yes to the fact"),
    Case("That's correct.", "Hogwarts", DID, True, "yes in other words"),
    Case("He did.", "Hogwarts", DID, True, "yes by ellipsis"),
    Case("Correct!", "Hogwarts", "Harry Potter studied at Hogwarts, right?", True, "yes to a tag question"),
    Case("No.", "Hogwarts", DID, False, "no"),
    Case("No, he studied at Durmstrang.", "Hogwarts", DID, False, "no, and another"),
    Case("No, he did not study at Hogwarts.", "Hogwarts", DID, False, "no, repeated"),
    Case("No, Hogwarts is a fictional school.", "Hogwarts", DID, False, "no, about the question's word"),
    Case("Harry Potter studied at Hogwarts.", "Hogwarts", DID, True, "the statement"),
    Case("I don't know whether he studied at Hogwarts.", "Hogwarts", DID, False, "the question's word, doubted"),
    Case("Did Harry Potter study at Hogwarts? I can't say.", "Hogwarts", DID, False, "the question repeated"),
    Case("I don't know whether it was Hogwarts.", "Hogwarts", WHERE, True, "doubted, but volunteered"),
    Case("Was it Hogwarts?", "Hogwarts", WHERE, True, "asked, but volunteered"),
    Case("I'm not sure, but I think it was Hogwarts.", "Hogwarts", WHERE, True, "a hedge, then the name"),
    Case("Yes.", "Hogwarts", "Did Harry Potter go to school?", False, "yes to something else"),
    Case("Yes.", "Hogwarts", WHERE, False, "yes to no question"),
    Case("No, he came from Italy.", "Italian", ITALIAN, True, "near-correct: the country for the adjective"),
    Case("No, he was not Italian.", "Italian", ITALIAN, False, "denied"),
    Case("No, he was French.", "Italian", ITALIAN, False, "another nation"),
    Case("No, he was from Warsaw.", "Warsaw", "Was he born in Warsaw?", True, "near-correct"),
    Case("Hogwarts.", "Hogwarts", "Did he study at Hogwarts or at Durmstrang?", True, "a choice"),
    Case("Durmstrang.", "Hogwarts", "Did he study at Hogwarts or at Durmstrang?", False, "the other choice"),
    Case("Yes.", "Hogwarts", "Did he study at Hogwarts or at Durmstrang?", False, "no answer to a choice"),
    Case("Born in the Polish city of Lodz.", "Poland", "In which Polish city was he born?", False, "echo"),
    Case("The Boston Tea Party was in Salem.", "Boston", "Where was the Boston Tea Party?", False, "echo"),
    Case("The Boston Tea Party was in Boston.", "Boston", "Where was the Boston Tea Party?", True, "told"),
    Case("Boston.", "Boston", "Where was the Boston Tea Party?", True, "a bare answer is no echo"),
    Case("Yes, he is.", "Yes", "Is he a wizard?", True, "an answer that is yes"),
    Case("He isn't.", "No", "Is he a muggle?", True, "an answer that is no"),
    Case("No.", "Yes", "Is he a wizard?", False, "the other polarity"),
]

MORE = [
    Case('"The Road to Nowhere" is by Anna Gray.', "Anna Gray", None, True, "a cue within a title"),
    Case("magic, myth and the Loom of Legends", "Loom of Legends", None, True, "myth as a thing"),
    Case("in many lands, including but not limited to France", "France", None, True, "not limited to"),
    Case("Although not rich in those years, Anna Gray travels.", "Anna Gray", None, True, "a clause ends"),
    Case("Instead of cowboys, his heroes may be Polish.", "Polish", None, True, "instead of another"),
    Case("Other than Emma, she has also written Persuasion.", "Emma", None, True, "other than, and also"),
    Case("HE WAS NOT BORN IN WARSAW.", "Warsaw", BORN, False, "denied in capitals"),
    Case("He lived in Northern Ireland.", "Ireland", None, False, "another country"),
    Case("He lived in North America.", "America", None, False, "a continent"),
    Case("He lived in Northern Italy.", "Italy", None, True, "a part of the country"),
    Case("He lived in South Africa.", "Africa", None, False, "a country of the continent"),
    Case("He lived in East Africa.", "Africa", None, True, "a part of the continent"),
    Case("He lived in Central Africa.", "Africa", None, True, "a part of the continent, in the middle"),
    Case("He attended Durmstrang, not Hogwarts.", "Hogwarts", WHERE, False, "not, after the truth of another"),
    Case("He attended Hogwarts, not Durmstrang.", "Hogwarts", WHERE, True, "not, about another"),
    Case("He attended Durmstrang (not Hogwarts).", "Hogwarts", WHERE, False, "in brackets"),
    Case("He attended a school that is not Hogwarts.", "Hogwarts", WHERE, False, "in a relative clause"),
    Case("Not Durmstrang, Hogwarts.", "Hogwarts", WHERE, True, "correction without a verb"),
    Case("The answer isn't Durmstrang. It is Hogwarts.", "Hogwarts", WHERE, True, "correction"),
    Case("Contrary to popular belief, he attended Hogwarts.", "Hogwarts", WHERE, True, "against a belief"),
    Case(
        "Contrary to popular belief, he did not attend Hogwarts.",
        "Hogwarts",
        WHERE,
        False,
        "the same, denied",
    ),
    Case("It is wrong to say that he studied at Hogwarts.", "Hogwarts", WHERE, False, "wrong to say"),
    Case("Although he was not born in Warsaw, he lived there.", "Warsaw", BORN, False, "although, denied"),
    Case("Although he did not like it, he was born in Warsaw.", "Warsaw", BORN, True, "although, stated"),
    Case(
        "While not a great student, he attended Hogwarts.",
        "Hogwarts",
        WHERE,
        True,
        "a denial before the comma",
    ),
    Case("Without hesitation, he chose Hogwarts.", "Hogwarts", WHERE, True, "without, before the comma"),
    Case("Without a doubt, Hogwarts.", "Hogwarts", WHERE, True, "without a doubt"),
    Case("It couldn't have been anywhere but Hogwarts.", "Hogwarts", WHERE, True, "nowhere but"),
    Case("There was no school other than Hogwarts for him.", "Hogwarts", WHERE, True, "no other"),
    Case("He went somewhere other than Hogwarts.", "Hogwarts", WHERE, False, "other than"),
    Case("He cannot deny that he was born in Warsaw.", "Warsaw", BORN, True, "cannot deny"),
    Case("He denied having been born in Warsaw.", "Warsaw", BORN, False, "denied"),
    Case("He failed to get into Hogwarts.", "Hogwarts", WHERE, False, "failed"),
    Case("Unlike Ron, he went to Hogwarts.", "Hogwarts", WHERE, True, "unlike another"),
    Case(
        "He did not, and never will, study at Hogwarts.",
        "Hogwarts",
        WHERE,
        False,
        "an aside with its own denial",
    ),
    Case("Hogwarts, however, was not his school.", "Hogwarts", WHERE, False, "denied subject after an aside"),
    Case("She was born in Warsaw, which is not in France.", "Warsaw", BORN, True, "a denial after the name"),
    Case("She was born in Warsaw and never left.", "Warsaw", BORN, True, "never, after the name"),
    Case("She, not being French, was born in Warsaw.", "Warsaw", BORN, True, "a denial in an aside"),
    Case("No, it's not Warsaw, it's Lodz.", "Warsaw", BORN, False, "no, not"),
    Case("Wasn't he at Hogwarts?", "Hogwarts", WHERE, True, "a question that expects a yes"),
    Case("He won in 1903, not in 1911.", "1903", None, True, "a year beside a denied one"),
    Case("He won in 1903, not in 1911.", "1911", None, False, "a denied year"),
    Case("JK Rowling wrote it.", "J. K. Rowling", None, True, "initials without dots"),
    Case("Rowling wrote it.", "J. K. Rowling", None, False, "a surname is for an alias"),
    Case("Albert Einstien", "Albert Einstein", None, True, "two letters swapped"),
    Case("physician", "physicist", None, False, "another profession"),
    Case("I'm hungry.", "Hungary", None, False, "a word that resembles the name"),
    Case("Right after school he went home.", "Hogwarts", DID, False, "right is not always a yes"),
    Case("True.", "Hogwarts", "True or false: Harry, a wizard, studied at Hogwarts.", True, "true"),
    Case("It is said that he studied at Hogwarts.", "Hogwarts", DID, True, "hearsay states"),
]

ALL = EXACT + NUMBERS + CLOSE + DENIED + ASKED + MORE


@pytest.mark.parametrize("case", ALL, ids=[f"{case.why}: {case.text}" for case in ALL])
def test_table(case):
    found = leak(case.text, case.answer, question=case.question, subject="Harry Potter")
    assert found.tells is case.tells, (found, case.why)


@pytest.mark.parametrize(
    ("text", "answer", "rule", "span"),
    [
        ("He went to Hogwarts.", "Hogwarts", "exact", "Hogwarts"),
        ("He went to the Wizard School.", "Hogwarts", "alias", "Wizard School"),
        ("on Nov 7th, 1867.", "7 November 1867", "number", "Nov 7th, 1867"),
        ("He was Polish.", "Poland", "variant", "Polish"),
        ("at Hogwwarts", "Hogwarts", "fuzzy", "Hogwwarts"),
        ("It was never Hogwarts.", "Hogwarts", "denied", "Hogwarts"),
        ("Durmstrang", "Hogwarts", "none", ""),
    ],
)
def test_the_rule_and_the_words_are_reported(text, answer, rule, span):
    found = leak(text, answer, aliases=["Wizard School"])
    assert (found.rule, found.span) == (rule, span)
    assert bool(found) is found.tells is (rule not in {"denied", "none"})


def test_no_country_is_taken_for_another():
    table = [re.split(r"[:,] ", line) for line in TABLE.split("\n") if line]
    told = [
        (said, name, row is other)
        for row in table
        for name in row
        for other in table
        for said in other
        if leak(f"It is {said}.", name).tells
    ]
    assert len(table) > 120
    assert sum(is_same for _, _, is_same in told) == sum(len(row) ** 2 for row in table)
    # A South Korean is a Korean.
    assert {name for _, name, is_same in told if not is_same} == {"Korea", "Korean"}


def test_a_stated_mention_outweighs_a_denied_one():
    assert leak("It wasn't Hogwarts at first. Later it was Hogwarts.", "Hogwarts").tells
    assert leak("He was not Italian. He came from Italy.", "Italian").rule == "variant"


def test_the_subject_s_own_name_does_not_tell():
    text = "The Warsaw University Library is large."
    assert leak(text, "Warsaw").tells
    assert not leak(text, "Warsaw", subject="Warsaw University Library").tells
    assert leak(text + " It is in Warsaw.", "Warsaw", subject="Warsaw University Library").tells


def test_the_fuzzy_threshold_is_an_option():
    # 8 letters, one wrong inside: ratio 2 * 7 / 16 = 87.5
    assert not leak("Hogwerts", "Hogwarts").tells
    # without the plural s both have 7 letters: 2 * 6 / 14 = 85.7
    assert leak("Hogwerts", "Hogwarts", options=LeakOptions(fuzzy_threshold=85)).rule == "fuzzy"
    assert not leak("Hogwwarts", "Hogwarts", options=LeakOptions(fuzzy_threshold=100)).tells


def test_mention_ignores_denial():
    assert mention("It was not Hogwarts.", "Hogwarts") == "Hogwarts"
    assert mention("Which school, not Durmstrang, did he attend?", "Hogwarts") is None
    assert mention("In which Polish city was she born?", "Poland") == "Polish"


REFUSALS = [
    "I don't know.",
    "I\u2019m sorry, but I can\u2019t help with that.",
    "I'm not familiar with that person.",
    "As an AI language model, I do not have access to personal data.",
    "There is no publicly available information about her siblings.",
    "It is not publicly known whether she has children.",
    "That's beyond my current knowledge base.",
    "That hasn't been included in my training data.",
    "My training doesn't cover that topic.",
    "Could you please provide more context?",
    "Unfortunately, I couldn't find any record of that.",
    "I must decline to answer.",
    "Unknown",
    "N/A",
    "Sorry!",
    "No idea.",
    "",
    "我不知道。",
]
ANSWERS = [
    "Hogwarts.",
    "No.",
    "I don't think it was Hogwarts.",
    "I don't know for certain, but I think it was Hogwarts.",
    "He was not known for his patience.",
    "While the exact year is not known, she published her first novel in the early 1990s.",
    "He has not only provided a fresh viewpoint but also an example.",
    "Nobody expected him to win, and he went on to become the captain of the team for the next two seasons, "
    "in which the club took part in three finals, won two of them and became known all over the world. "
    "I don't know what came after.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_not_refusals(text):
    assert not is_refusal(text)


def test_thousands_of_calls_are_cheap():
    texts = [f"In {year} he was a student of the old school in the north, they say." for year in range(1000, 2000)]
    start = time.process_time()
    assert not any(leak(text, "Hogwarts", aliases=("Hogwarts School",), question=WHERE) for text in texts)
    # About 0.15 ms each on one core; ten times that would be felt in a probe of every sample.
    assert time.process_time() - start < 1.5
