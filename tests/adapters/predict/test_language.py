"""Texts that look English, and texts that do not."""

from __future__ import annotations

import pytest

from valueeval.adapters.predict.language import Languages, looks_english

OTHER = [
    "Die Bäume spenden im Sommer Schatten und machen die Stadt für alle kühler.",
    "Ein Tempolimit auf Autobahnen rettet Leben und kostet so gut wie nichts.",
    "Der Staat darf seinen Bürgern nicht vorschreiben, was sie in ihrer Freizeit tun.",
    "Les arbres donnent de l'ombre et rafraîchissent la ville pendant l'été.",
    "L'État doit protéger les libertés de tous les citoyens, on ne peut pas l'ignorer.",
    "Los árboles dan sombra y refrescan la ciudad en verano, y no cuestan mucho.",
    "El gobierno no debe decidir lo que la gente hace en su tiempo libre.",
    "Gli alberi danno ombra e rinfrescano la città, e non costano quasi nulla.",
    "De bomen geven schaduw en maken de stad koeler, en dat is voor iedereen goed.",
    "De overheid moet niet bepalen wat wij in onze vrije tijd doen, of wat we eten.",
    "Drzewa dają cień i chłodzą miasto latem, co jest dobre dla wszystkich.",
    "Träden ger skugga och gör staden svalare på sommaren för alla.",
    "Ağaçlar yazın gölge verir ve şehri serinletir, bu herkes için iyidir.",  # noqa: RUF001
    "Pohon memberi keteduhan dan mendinginkan kota di musim panas.",
    "As árvores dão sombra e refrescam a cidade no verão, e isso é bom para todos.",
    "Træerne giver skygge og gør byen køligere om sommeren for alle.",
    "树木提供阴凉并使城市降温",
]


@pytest.mark.parametrize("text", OTHER)
def test_other_languages(text: str) -> None:
    assert looks_english(text) is False


@pytest.mark.parametrize(
    "text",
    [
        "We should plant trees because they give shade to everyone in the city.",
        "It\N{RIGHT SINGLE QUOTATION MARK}s not fair that they don't have a say",
        "THE STATE MUST PROTECT ITS CITIZENS",
    ],
)
def test_english(text: str) -> None:
    assert looks_english(text) is True


def test_too_short_to_tell() -> None:
    assert looks_english("Trees give shade") is looks_english("") is looks_english("1 2 3") is None


def test_the_note_counts_texts_that_are_long_enough() -> None:
    languages = Languages()
    for text in (OTHER[0], "We should plant more of them now", "Bäume", *OTHER[1:3]):
        languages.add(text)
    assert languages.note is not None
    assert languages.note.startswith("3 of 4 texts do not look English")
    assert Languages(english=2, other=2).note is None


def test_real_premises_are_english(real_data_dir: object) -> None:
    from valueeval.tasks.data.dataset import load_set

    arguments = load_set("main", str(real_data_dir)).arguments
    found = [looks_english(argument.premise) for argument in arguments]
    assert found.count(False) < 0.02 * len(found)
