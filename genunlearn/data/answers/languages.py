"""Forms of one word in languages that inflect names: ``в Варшаве``, ``Hogwarts'ta``, ``w Krakowie``, ``Roxfortban``.

Snowball's stemmers do the work where there is one for the language; elsewhere a long name may change its ending by a
few letters. English is left out: there the endings that names take are cut in any case (possessive, plural).
"""

# ruff: noqa: RUF001 (letters of other scripts are meant)

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from genunlearn.data.answers.words import fold, word_set

# The most frequent words that tell these languages apart. Those that do not inflect names are here to be told apart.
_FREQUENT = {
    "english": "the of and to in is was he she his her it that for on as with at by not are were this from which who "
    "what where when did has have had be i you they an a or its their there been",
    "german": "der die das und ist war er sie es in im nicht ein eine einen von zu mit auf wo wer wann hat wurde sein "
    "ihr sich auch nein ja aber oder als bei nach den dem des kein keine ich",
    "french": "le la les de du des et est il elle un une dans en à au aux que qui ne pas où était pour sur son sa ses "
    "avec non oui mais ou je par ce a",
    "spanish": "el la los las de del y es un una en que no se por con su fue era donde quien al lo para sí pero o a "
    "cuando nació estudió como",
    "italian": "il la le lo gli di del della e è un una in che non si per con suo era dove chi al da nel nella ma o",
    "portuguese": "o a os as de do da e é um uma em que não se por com seu foi era onde quem ao no na mas ou nasceu",
    "dutch": "de het een en is was hij zij in van niet dat die te op met voor waar wie zijn haar werd maar of",
    "polish": "i w we na nie się jest że do z ze to był była było on ona jego jej który która gdzie kto kiedy po od "
    "przez urodził urodziła o ale lub mieszka tak",
    "czech": "a v ve na ne se je že do z ze to byl byla bylo on ona jeho její který která kde kdo kdy po od narodil "
    "narodila jsem ale nebo u studoval",
    "turkish": "ve bir bu da de o için ile ne kim nerede olarak oldu doğdu çok gibi daha mi mı değil okudu ama hayır",
    "finnish": "ja on hän ei että se oli missä kuka mikä milloin joka syntyi kävi mutta tai kuin myös opiskeli koulua",
    "hungarian": "a az és egy nem hogy is volt ő ki hol mikor született meg ez azt tanult de vagy járt igen",
}
_WORDS = {language: word_set(words) for language, words in _FREQUENT.items()}
_LANGUAGES = {
    word: [language for language, words in _WORDS.items() if word in words]
    for word in frozenset().union(*_WORDS.values())
}
_FIXED = frozenset({"english", "german", "french", "spanish", "italian", "portuguese", "dutch"})
_LETTERS = {"polish": "ąęłńśźż", "czech": "ěřůťďň", "turkish": "ğış", "hungarian": "őű"}

# A stem's last consonant may change with the ending: Praha, v Praze; Helsinki, Helsingissä; Polska, w Polsce.
_ALTERNATIONS = {
    "polish": (("k", "c"), ("g", "dz"), ("ch", "sz"), ("r", "rz"), ("t", "c"), ("d", "dz"), ("t", "")),
    "czech": (("h", "z"), ("k", "c"), ("ch", "s"), ("g", "z")),
    "finnish": (("k", "g"), ("k", ""), ("t", "d"), ("p", "v"), ("nk", "ng"), ("nt", "nn"), ("lt", "ll"), ("t", "")),
    "ukrainian": (("г", "з"), ("к", "ц"), ("х", "с")),
}
_UKRAINIAN_ENDINGS = tuple(
    sorted(word_set("а у і ї и я ю е є о ь ом ем єм ою ею єю ові еві єві ами ах ям ях ів їв й"), key=len, reverse=True)
)
# Endings that make another name rather than another case: Иванов is not Иван, Нигерия not Нигер.
_OTHER_NAMES = (
    "ия",
    "ии",
    "ию",
    "ов",
    "ев",
    "ова",
    "ева",
    "ский",
    "ская",
    "енко",
    "ovic",
    "ova",
    "ski",
    "ska",
    "sky",
    "ella",
    "ina",
)
_ARABIC_PREFIXES = "وفبكل"
_MIN_STEM = 3
_MIN_PREFIX = 6
_MAX_ENDING = 3
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_UKRAINIAN = re.compile(r"[іїєґІЇЄҐ]")
_ARABIC = re.compile(r"[\u0600-\u06ff]")
_GREEK = re.compile(r"[\u0370-\u03ff]")
_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=8192)
def guess(text: str) -> str | None:
    """The language of a text by its frequent words and letters, or None; English where English ties with another."""
    script = _by_script(text)
    if script is not None:
        return script
    lower = text.casefold()
    scores = dict.fromkeys(_FREQUENT, 0)
    for word in set(_WORD.findall(lower)):
        for language in _LANGUAGES.get(word, ()):
            scores[language] += 2
    for language, letters in _LETTERS.items():
        scores[language] += 2 * any(letter in lower for letter in letters)
    best = max(scores.values())
    leaders = [language for language, score in scores.items() if score == best]
    return leaders[0] if best > 0 else None


def _by_script(text: str) -> str | None:
    if text.isascii():
        return None
    if len(_CYRILLIC.findall(text)) * 2 > sum(map(str.isalpha, text)):
        return "ukrainian" if _UKRAINIAN.search(text) else "russian"
    return None


@lru_cache(maxsize=65536)
def stem(word: str, language: str | None) -> str:
    """The stem of a word by Snowball, without case and accents; English where the language has no stemmer."""
    stemmer = _stemmer(language) or _stemmer("english")
    return fold(stemmer(word.casefold())) if stemmer else fold(word)


@lru_cache(maxsize=64)
def _stemmer(language: str | None) -> Callable[[str], str] | None:
    import snowballstemmer

    return snowballstemmer.stemmer(language).stemWord if language in snowballstemmer.algorithms() else None


def may_be_form(wanted: str, found: str) -> bool:
    """Whether two words can be forms of one at all; cheap, and false for nearly all."""
    return wanted[:2].casefold() == found[:2].casefold() or bool(_ARABIC.match(wanted) and _ARABIC.match(found))


@lru_cache(maxsize=65536)
def same_name(wanted: str, found: str, language: str | None) -> bool:
    """Whether `found` is `wanted` in another grammatical case.

    Args:
        wanted: The name as the fact has it.
        found: The word of a text.
        language: Of the text, as `guess` has it; None allows changes of long names' endings alone. The script of
            `wanted` goes before it.
    """
    if _ARABIC.search(wanted):
        return _same_arabic(wanted, found)
    if wanted[:1].isupper() != found[:1].isupper():
        return False
    head, apostrophe, ending = found.partition("'")
    if apostrophe and len(wanted) > _MIN_STEM and len(ending) <= _MAX_ENDING + 1:
        return fold(head) == fold(wanted) and found[:1].isupper()
    language = (_by_script(wanted) and _by_script(f"{wanted} {found}")) or (
        "greek" if _GREEK.search(wanted) else language
    )
    one, other = fold(wanted), fold(found)
    if one[:1] != other[:1] or _is_other_name(one, other) or language in _FIXED:
        return False
    if language == "ukrainian":
        return _same_stem(_ukrainian(one), _ukrainian(other), one, language)
    if language is None or _stemmer(language) is None:
        return _same_prefix(one, other)
    return _same_stem(stem(wanted, language), stem(found, language), one, language)


def _same_stem(one: str, other: str, wanted: str, language: str) -> bool:
    # The stemmer may cut the bare name too far (London: lon) and an ending right (Londonban: london).
    shortest = min(len(one), len(other))
    if other == wanted or (one == other and shortest >= _MIN_STEM):
        return True
    return shortest > _MIN_STEM and any(
        one.endswith(a) and other.endswith(b) and one[: len(one) - len(a)] == other[: len(other) - len(b)]
        for pair in _ALTERNATIONS.get(language, ())
        for a, b in (pair, pair[::-1])
    )


def _same_prefix(one: str, other: str) -> bool:
    base = one.rstrip("aeiouy")[: len(one)] if one[-1] in "aeiouy" else one
    return len(base) >= _MIN_PREFIX and other.startswith(base) and len(other) - len(base) <= _MAX_ENDING


def _same_arabic(wanted: str, found: str) -> bool:
    one, other = fold(wanted), fold(found)
    forms = [other, other[1:]] if other[:1] in _ARABIC_PREFIXES else [other]
    stems = {stem(form, "arabic") for form in forms if len(form) >= _MIN_STEM}
    return one in forms or (len(one) > _MIN_STEM and stem(one, "arabic") in stems)


def _ukrainian(word: str) -> str:
    ending = next((ending for ending in _UKRAINIAN_ENDINGS if word.endswith(ending)), "")
    return word[: len(word) - len(ending)]


def _is_other_name(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    common = next((at for at in range(len(shorter)) if shorter[at] != longer[at]), len(shorter))
    return longer[common:] in _OTHER_NAMES and not shorter.endswith(_OTHER_NAMES)
