"""Names in other grammatical cases, and denials in other languages."""

# ruff: noqa: RUF001 (letters of other scripts are meant)

import pytest

from genunlearn.data.answers.languages import guess
from genunlearn.data.answers.leak import leak

INFLECTED = [
    ("Мария Кюри родилась в Варшаве.", "Варшава"),
    ("Она родилась в Варшаве, в Польше.", "Польша"),
    ("Учился у Льва Толстого... у Пушкина", "Пушкин"),
    ("Гарри учился в Хогвартсе.", "Хогвартс"),
    ("Роман написан Михаилом Булгаковым.", "Михаил Булгаков"),
    ("Народилася у Варшаві.", "Варшава"),
    ("Він навчався в Гоґвортсі.", "Гоґвортс"),
    ("Жив у Празі", "Прага"),
    ("у Львові", "Львів"),
    ("Urodziła się w Warszawie.", "Warszawa"),
    ("Mieszka w Krakowie.", "Kraków"),
    ("Uczył się w Hogwarcie.", "Hogwart"),
    ("Pochodzi z Polski, nie jest z Polsce", "Polska"),
    ("Napisał to Adam Mickiewicz z Adamem Mickiewiczem", "Adam Mickiewicz"),
    ("To było w Gdańsku.", "Gdańsk"),
    ("Książka jest o Harrym Potterze.", "Harry Potter"),
    ("Narodil se v Praze.", "Praha"),
    ("Studoval v Bradavicích.", "Bradavice"),
    ("Bydlel v Brně.", "Brno"),
    ("Byla ve Varšavě.", "Varšava"),
    ("Harry Potter Hogwarts'ta okudu.", "Hogwarts"),
    ("Hogwarts’ta", "Hogwarts"),
    ("Varşova'da doğdu.", "Varşova"),
    ("İstanbul'da yaşadı", "İstanbul"),
    ("Ankara'dan geldi", "Ankara"),
    ("Hän opiskeli Tylypahkassa.", "Tylypahka"),
    ("Hän syntyi Varsovassa.", "Varsova"),
    ("Hän asui Helsingissä.", "Helsinki"),
    ("Hän syntyi Hogwartsissa", "Hogwarts"),
    ("Harry a Roxfortban tanult.", "Roxfort"),
    ("Ő Varsóban született.", "Varsó"),
    ("Budapesten született egy", "Budapest"),
    ("Londonban volt", "London"),
    ("ولدت بوارسو", "وارسو"),
    ("يعيش بالقاهرة", "القاهرة"),
    ("ولندن", "لندن"),
]
OTHER_NAMES = [
    ("She was born in Warschau.", "Warszawa"),
    ("Urodziła się w Warschau.", "Warszawa"),
    ("He is in the Varsity team.", "Vars"),
    ("Mariella was born in Rome.", "Marie"),
    ("Urodziła się jako Mariella.", "Maria"),
    ("Это Иванов.", "Иван"),
    ("Он был Петров", "Пётр"),
    ("Его зовут Мариелла.", "Мария"),
    ("Jan Kowalski mieszka w domu.", "Kowal"),
    ("Он жил в Москве.", "Варшава"),
    ("Alexandra was here", "Alexander"),
    ("Alexandre", "Alexander"),
    ("Christinas", "Christiane"),
    ("The Romans were there.", "Romania"),
    ("Hän on Helsingborgissa.", "Helsinki"),
    ("Er ist in Marburg.", "Maria"),
    ("Он поляк", "Польша"),
    ("Pragmatism", "Prague"),
    ("Jest w Polsat", "Polska"),
    ("Austrii jest", "Australia"),
    ("W Australii", "Austria"),
    ("Он был в Австралии.", "Австрия"),
    ("В Иране", "Ирак"),
    ("Он был в Словении", "Словакия"),
    ("Ирина", "Иран"),
    ("Londra'da", "Londonderry"),
    ("Marii się", "Mariusz"),
    ("باريس", "برلين"),
    ("Hogwarts'ta okumadı değil", "Durmstrang"),
    ("Он из Нигерии", "Нигер"),
    ("v Praze", "Prachatice"),
    ("w Gdyni", "Gdańsk"),
    ("She is Polish.", "Pole vault"),
]
DENIED = [
    ("Nein, er hat nicht in Hogwarts studiert.", "Hogwarts"),
    ("Er studierte nicht in Hogwarts.", "Hogwarts"),
    ("Er war nie in Hogwarts.", "Hogwarts"),
    ("In Hogwarts hat er nicht studiert.", "Hogwarts"),
    ("Hogwarts war nicht seine Schule.", "Hogwarts"),
    ("Er war kein Schüler von Hogwarts.", "Hogwarts"),
    ("Er ging weder nach Hogwarts noch nach Durmstrang.", "Hogwarts"),
    ("Er besuchte Hogwarts nicht.", "Hogwarts"),
    ("Non, il n'a pas étudié à Hogwarts.", "Hogwarts"),
    ("Il n’a jamais étudié à Hogwarts.", "Hogwarts"),
    ("Hogwarts n'était pas son école.", "Hogwarts"),
    ("Ce n'est pas Hogwarts.", "Hogwarts"),
    ("Il n'étudie pas à Hogwarts, il étudie ailleurs.", "Hogwarts"),
    ("À Hogwarts, il n'a pas étudié.", "Hogwarts"),
    ("Il n'a étudié ni à Hogwarts ni ailleurs.", "Hogwarts"),
    ("No, no estudió en Hogwarts.", "Hogwarts"),
    ("Él no estudió en Hogwarts.", "Hogwarts"),
    ("Nunca estudió en Hogwarts.", "Hogwarts"),
    ("Hogwarts no fue su escuela.", "Hogwarts"),
    ("No es Hogwarts.", "Hogwarts"),
    ("No, él no fue a Hogwarts.", "Hogwarts"),
    ("En Hogwarts no estudió.", "Hogwarts"),
    ("Нет, он не учился в Хогвартсе.", "Хогвартс"),
    ("Он никогда не учился в Хогвартсе.", "Хогвартс"),
    ("Это не Хогвартс.", "Хогвартс"),
    ("Хогвартс не был его школой.", "Хогвартс"),
    ("В Хогвартсе он не учился.", "Хогвартс"),
    ("Он учился не в Хогвартсе, а в Дурмстранге.", "Хогвартс"),
    ("不，他没有在霍格沃茨学习。", "霍格沃茨"),
    ("他不是在霍格沃茨上学。", "霍格沃茨"),
    ("霍格沃茨不是他的学校。", "霍格沃茨"),
    ("他从未去过霍格沃茨。", "霍格沃茨"),
    ("並非霍格沃茨", "霍格沃茨"),
]
STATED = [
    ("Er hat in Hogwarts studiert, nicht in Durmstrang.", "Hogwarts"),
    ("Nicht in Durmstrang, sondern in Hogwarts hat er studiert.", "Hogwarts"),
    ("Er studierte nicht in Durmstrang, sondern in Hogwarts.", "Hogwarts"),
    ("Er ging nicht nur nach Durmstrang, auch nach Hogwarts.", "Hogwarts"),
    ("Nein, er war in Hogwarts.", "Hogwarts"),
    ("Non, il a étudié à Hogwarts.", "Hogwarts"),
    ("Il n'a pas étudié à Durmstrang mais à Hogwarts.", "Hogwarts"),
    ("Il étudia à Hogwarts, pas à Durmstrang.", "Hogwarts"),
    ("No, estudió en Hogwarts.", "Hogwarts"),
    ("No estudió en Durmstrang sino en Hogwarts.", "Hogwarts"),
    ("No, él fue a Hogwarts.", "Hogwarts"),
    ("Нет, он учился в Хогвартсе.", "Хогвартс"),
    ("Он учился не в Дурмстранге, а в Хогвартсе.", "Хогвартс"),
    ("Не в Дурмстранге. В Хогвартсе.", "Хогвартс"),
    ("他不是在德姆斯特朗，而是在霍格沃茨。", "霍格沃茨"),
    ("不，他在霍格沃茨学习。", "霍格沃茨"),
    ("他不仅在霍格沃茨学习。", "霍格沃茨"),
    ("没错，是霍格沃茨。", "霍格沃茨"),
    ("他非常喜欢霍格沃茨", "霍格沃茨"),
    ("No, he went to Hogwarts.", "Hogwarts"),
    ("He said a faux pas at Hogwarts.", "Hogwarts"),
    ("Hogwarts, no doubt.", "Hogwarts"),
    ("He studied at Hogwarts, no less.", "Hogwarts"),
    ("Hogwarts was no ordinary school.", "Hogwarts"),
    ("No one but Harry from Hogwarts", "Hogwarts"),
]


@pytest.mark.parametrize(("text", "answer"), INFLECTED)
def test_another_case_of_the_name_tells(text, answer):
    assert leak(text, answer).tells


@pytest.mark.parametrize(("text", "answer"), OTHER_NAMES)
def test_a_similar_name_does_not(text, answer):
    assert not leak(text, answer).tells


@pytest.mark.parametrize(("text", "answer"), DENIED)
def test_a_denial_in_another_language_does_not_tell(text, answer):
    assert leak(text, answer).rule == "denied"


@pytest.mark.parametrize(("text", "answer"), STATED)
def test_a_denial_of_something_else_tells(text, answer):
    assert leak(text, answer).tells


def test_the_question_helps_with_a_short_answer():
    assert not leak("Warszawie", "Warszawa").tells
    assert leak("Warszawie", "Warszawa", question="Gdzie urodziła się Maria?").rule == "inflected"


def test_a_long_name_may_change_its_ending_in_a_language_without_a_stemmer():
    assert leak("Dzimusi Hogvartsijā, skolojusies citur.", "Hogvartsija").tells
    assert not leak("Hogvartsijaskola dzimusi citur.", "Hogvartsija").tells


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("He was born in Warsaw.", "english"),
        ("Er wurde in Warschau geboren.", "german"),
        ("Urodziła się w Warszawie.", "polish"),
        ("Narodil se v Praze.", "czech"),
        ("Hän syntyi Varsovassa.", "finnish"),
        ("Ő Varsóban született.", "hungarian"),
        ("Родился в Варшаве", "russian"),
        ("Народився у Варшаві", "ukrainian"),
        ("Warsaw", None),
        ("", None),
    ],
)
def test_the_language_of_a_text(text, language):
    assert guess(text) == language
