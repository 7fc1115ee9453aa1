"""Names of models that are names of folders."""

from __future__ import annotations

import pytest
from lm_eval.utils import sanitize_model_name

from valueeval.tasks.harness.model_names import sanitized, shortened


@pytest.mark.parametrize("name", ["a", "org/model", 'a<b>:c\\d|"e"?*[f]', "../x", "ä//ö", ""])
def test_names_are_sanitized_as_by_lm_eval(name: str) -> None:
    assert sanitized(name) == sanitize_model_name(name)


def test_the_longest_name_is_a_folder_as_it_is() -> None:
    assert shortened("a" * 255) == "a" * 255
    assert len(shortened("a" * 256)) == 255
    # A slash takes two characters in the name of a folder.
    assert shortened("a/" + "b" * 252) == "a/" + "b" * 252
    assert shortened("a/" + "b" * 253) == "b" * 242 + shortened("a/" + "b" * 253)[-13:]
    # Nor is a character cut in two.
    assert len(shortened("ä" * 200).encode()) in (254, 255)
