"""Does this text tell the fact? A table of tricky texts, each with the reason for its verdict."""

import time
from typing import NamedTuple

import pytest

from genunlearn.data.leak import LeakOptions, embedding_similarity, is_refusal, leak, mention
from genunlearn.errors import InputError

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
    Case(
        "I don't know whether he studied at Hogwarts.", "Hogwarts", DID, False, "the question's word, doubted"
    ),
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
    Case("Hogwarts is in Scotland.", "Hogwarts", "Where is Hogwarts?", False, "echo of another question"),
    Case("Yes, he is.", "Yes", "Is he a wizard?", True, "an answer that is yes"),
    Case("He isn't.", "No", "Is he a muggle?", True, "an answer that is no"),
    Case("No.", "Yes", "Is he a wizard?", False, "the other polarity"),
]

ALL = EXACT + NUMBERS + CLOSE + DENIED + ASKED


@pytest.mark.parametrize("case", ALL, ids=[f"{case.why}: {case.text}" for case in ALL])
def test_table(case):
    found = leak(case.text, case.answer, question=case.question, subject="Harry Potter")
    assert found.tells is case.tells, (found, case.why)
