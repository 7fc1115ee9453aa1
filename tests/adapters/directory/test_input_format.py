"""How a text without conclusion and stance becomes what a model reads."""

from __future__ import annotations

import pytest

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.values import VALUES


@pytest.mark.parametrize(
    ("segments", "read"),
    [
        (("{premise}", "{stance_word}: {conclusion}"), ("Shade is nice",)),
        (("{stance_word} {conclusion} because {premise}",), ("Shade is nice",)),
        (
            ("{premise} {stance_word}: {conclusion}", "{value.name}"),
            ("Shade is nice", VALUES[0].name),
        ),
        (("{value.name}? {premise} {conclusion}",), (f"{VALUES[0].name} Shade is nice",)),
        (("{premise}", "{value.name} {conclusion}"), ("Shade is nice", f"{VALUES[0].name} ")),
    ],
)
def test_text_alone(segments: tuple[str, ...], read: tuple[str, ...]) -> None:
    alone = Argument("1", "", "", "Shade is nice")
    assert InputFormat(segments, 64).texts(alone, VALUES[0]) == read


def test_a_model_that_reads_no_premise_reads_no_text_alone() -> None:
    with pytest.raises(ManifestError, match=r"no segment has \{premise\}"):
        InputFormat(("{conclusion}",), 64).texts(Argument("1", "", "", "p"))
