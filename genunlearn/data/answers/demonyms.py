"""Countries and what comes from them: ``Italy`` and ``Italian`` tell the same.

One line for each country: its names, then a colon, then its adjectives and inhabitants. Plurals need no
entry; an adjective that two countries share stands with the larger one.
"""

from __future__ import annotations

from functools import lru_cache

from genunlearn.data.answers.wording import key
from genunlearn.data.answers.words import fold

TABLE = """
Afghanistan: Afghan
Albania: Albanian
Algeria: Algerian
Argentina: Argentine, Argentinian, Argentinean
Armenia: Armenian
Australia: Australian, Aussie
Austria: Austrian
Azerbaijan: Azerbaijani, Azeri
Bangladesh: Bangladeshi
Belarus: Belarusian
Belgium: Belgian
Bolivia: Bolivian
Bosnia, Bosnia and Herzegovina: Bosnian
Brazil: Brazilian
Britain, Great Britain, United Kingdom, UK: British, Briton
Bulgaria: Bulgarian
Cambodia: Cambodian
Cameroon: Cameroonian
Canada: Canadian
Chile: Chilean
China: Chinese
Colombia: Colombian
Congo: Congolese
Costa Rica: Costa Rican
Croatia: Croatian, Croat
Cuba: Cuban
Cyprus: Cypriot
Czech Republic, Czechia: Czech
Denmark: Danish, Dane
Dominica
Dominican Republic: Dominican
Ecuador: Ecuadorian
Egypt: Egyptian
England: English, Englishman, Englishwoman
Estonia: Estonian
Ethiopia: Ethiopian
Finland: Finnish, Finn
France: French, Frenchman, Frenchwoman, Frenchmen
Georgia: Georgian
Germany: German
Ghana: Ghanaian
Greece: Greek
Guatemala: Guatemalan
Guinea: Guinean
Guyana: Guyanese
Haiti: Haitian
Honduras: Honduran
Hungary: Hungarian
Iceland: Icelandic, Icelander
India: Indian
Indonesia: Indonesian
Iran: Iranian
Iraq: Iraqi
Ireland: Irish, Irishman, Irishwoman
Israel: Israeli
Italy: Italian
Ivory Coast: Ivorian
Jamaica: Jamaican
Japan: Japanese
Jordan: Jordanian
Kazakhstan: Kazakh
Kenya: Kenyan
Korea: Korean
South Korea: South Korean
North Korea: North Korean
Kuwait: Kuwaiti
Laos: Laotian
Latvia: Latvian
Lebanon: Lebanese
Liberia: Liberian
Libya: Libyan
Lithuania: Lithuanian
Luxembourg: Luxembourgish, Luxembourger
Macedonia, North Macedonia: Macedonian
Malaysia: Malaysian
Mali: Malian
Malta: Maltese
Mauritania: Mauritanian
Mauritius: Mauritian
Mexico: Mexican
Moldova: Moldovan
Mongolia: Mongolian
Montenegro: Montenegrin
Morocco: Moroccan
Mozambique: Mozambican
Nepal: Nepalese, Nepali
Netherlands, Holland: Dutch, Dutchman, Dutchwoman
New Zealand: New Zealander, Kiwi
Nicaragua: Nicaraguan
Niger: Nigerien
Nigeria: Nigerian
Norway: Norwegian
Pakistan: Pakistani
Palestine: Palestinian
Panama: Panamanian
Paraguay: Paraguayan
Persia: Persian
Peru: Peruvian
Philippines: Filipino, Filipina, Philippine
Poland: Polish, Pole
Portugal: Portuguese
Prussia: Prussian
Puerto Rico: Puerto Rican
Romania: Romanian
Rome: Roman
Russia: Russian
Rwanda: Rwandan
Saudi Arabia: Saudi, Saudi Arabian
Scotland: Scottish, Scot, Scotsman, Scotswoman
Senegal: Senegalese
Serbia: Serbian, Serb
Singapore: Singaporean
Slovakia: Slovak, Slovakian
Slovenia: Slovenian, Slovene
Somalia: Somali
South Africa: South African
Soviet Union, USSR: Soviet
Spain: Spanish, Spaniard
Sri Lanka: Sri Lankan
Sudan: Sudanese
Sweden: Swedish, Swede
Switzerland: Swiss
Syria: Syrian
Taiwan: Taiwanese
Tanzania: Tanzanian
Thailand: Thai
Tunisia: Tunisian
Turkey: Turkish, Turk
Uganda: Ugandan
Ukraine: Ukrainian
United States, United States of America, USA, US, America: American
Uruguay: Uruguayan
Uzbekistan: Uzbek
Venezuela: Venezuelan
Vietnam: Vietnamese
Wales: Welsh, Welshman, Welshwoman
Yemen: Yemeni
Zambia: Zambian
Zimbabwe: Zimbabwean
"""

# What turns the name of a town or a person into an adjective or an inhabitant: Parisian, Berliner, Newtonian.
_SUFFIXES = ("ian", "ean", "an", "ese", "ite", "ish")
_MIN_ROOT = 5
_MIN_ROOT_BEFORE_ER = 6


@lru_cache(maxsize=1)
def _nations() -> dict[str, tuple[str, ...]]:
    """All names of a nation by the key of each of them."""
    nations = {}
    for line in TABLE.strip().splitlines():
        names = tuple(name.strip() for name in line.replace(":", ",").split(","))
        nations.update({key(name): names for name in names})
    return nations


def other_names(name: str) -> tuple[str, ...]:
    """The country's names, adjectives and inhabitants, if `name` is one of them; otherwise nothing."""
    return tuple(other for other in _nations().get(key(name), ()) if key(other) != key(name))


@lru_cache(maxsize=65536)
def is_nation(name: str) -> bool:
    """Whether `name` is a country, its adjective or its inhabitant."""
    return key(name) in _nations()


@lru_cache(maxsize=65536)
def derived(one: str, other: str) -> bool:
    """Whether one word is made from the other, as ``Viennese`` from ``Vienna``; both begin with a capital.

    Names of nations are left to the table: ``Nigerian`` does not come from ``Niger``.
    """
    if not (one[:1].isupper() and other[:1].isupper() and one[0] == other[0]):
        return False
    if is_nation(one) or is_nation(other):
        return False
    shorter, longer = sorted((fold(name).removesuffix("'s") for name in (one, other)), key=len)
    root = shorter.rstrip("aeiouys")
    if len(root) < _MIN_ROOT:
        root = shorter
    if len(root) < _MIN_ROOT or not longer.startswith(root):
        return False
    ending = longer[len(root) :].removeprefix("s").removesuffix("s")
    return ending in _SUFFIXES or (ending == "er" and len(root) >= _MIN_ROOT_BEFORE_ER)
