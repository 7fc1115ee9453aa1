"""The systems of others, as the package ships them."""

from __future__ import annotations

from valueeval.leaderboard.published.systems import published


def test_published_systems_keep_the_two_f1_apart() -> None:
    by_name = {(p.system, p.dataset): p for p in published()}
    bert = by_name["BERT", "main"]
    assert (bert.macro_f1, bert.official_f1, bert.parameters) == (0.390, 0.42, 110_000_000)
    assert by_name["Adam Smith", "main"].macro_f1 == 0.551
    assert by_name["John Arthur", "main"].macro_f1 is None
    unclear = by_name["PAI ensemble", "main"]
    assert (unclear.macro_f1, unclear.official_f1) == (None, None)
    assert by_name["BERT", "nyt"].macro_f1 is None, "the table of values is of the main set"
    assert all(p.source for p in published())
    assert [p.system for p in published() if p.oracle and p.dataset == "main"] == [
        "Best per category (oracle over runs)"
    ]
