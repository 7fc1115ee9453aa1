"""Labels for DataFrames in parts, as Spark's mapInPandas hands them out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tiny_adapters import write_adapter

import valueeval
from valueeval.adapters.predict import frames
from valueeval.adapters.predict.frames import ADDED_DDL, label_frames
from valueeval.adapters.predict.labelling import ADDED_COLUMNS

TEXTS = pd.DataFrame({"id": range(7), "post": [f"Nobody should fear number {n}" for n in range(7)]})


def test_parts_are_labelled_as_the_whole_with_one_model(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = str(write_adapter(tmp_path / "adapter", tiny_bert))
    whole = valueeval.load(adapter, "cpu").predict(TEXTS, text_column="post")
    loads: list[str] = []
    monkeypatch.setattr(
        frames, "load", lambda name, *a, **k: loads.append(name) or valueeval.load(name, "cpu")
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    frames._loaded.cache_clear()

    def parts() -> Iterator[pd.DataFrame]:
        yield TEXTS.iloc[:3]
        yield TEXTS.iloc[:0]
        yield TEXTS.iloc[3:]

    for _ in range(2):
        found = list(label_frames(parts(), adapter, {"text_column": "post"}))
        assert [len(frame) for frame in found] == [3, 4]
        pd.testing.assert_frame_equal(pd.concat(found), whole, rtol=1e-4)
    assert loads == [adapter]
    frames._loaded.cache_clear()


def test_the_schema_names_every_added_column_in_order() -> None:
    named = [part.split(" ") for part in ADDED_DDL.split(", ")]
    assert [name for name, _ in named] == list(ADDED_COLUMNS)
    assert dict(named)["values"] == "string"
    assert dict(named)["face"] == "int"
    assert dict(named)["p_face"] == "double"
