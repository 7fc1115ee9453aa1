"""The figures as PNG and SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from leaderboard_results import (
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main


def test_every_figure_as_png_and_svg(results: Path) -> None:
    folders = [results.parent / name for name in ("one", "two")]
    for folder in folders:
        main([str(results), "-o", str(results.parent / "x.md"), "--figures", str(folder)])
    names = {path.name for path in folders[0].iterdir()}
    expected = ["intervals", "f1-parameters", "f1-trained-parameters", "f1-training-size",
                "f1-per-value", "wordings-and-seeds", "precision-recall"]  # fmt: skip
    assert names == {f"main-{name}.{ending}" for name in expected for ending in ("png", "svg")}
    for name in names:
        content = (folders[0] / name).read_bytes()
        assert content == (folders[1] / name).read_bytes(), "the same bytes"
        if name.endswith("svg"):
            ElementTree.fromstring(content)  # noqa: S314 (our own)
            assert b"gpt2" in content or b"minilm" in content or b"main-f1-" in name.encode()
        else:
            assert content.startswith(b"\x89PNG")


def test_figures_of_a_hostile_name(tmp_path: Path) -> None:
    write_results(tmp_path / "results", model="$x_{1$ <b> \\frac{1}{0} & ]]>")
    main(
        [str(tmp_path / "results"), "-o", str(tmp_path / "x.md"), "--figures", str(tmp_path / "f")]
    )
    ElementTree.fromstring((tmp_path / "f/main-intervals.svg").read_bytes())  # noqa: S314
