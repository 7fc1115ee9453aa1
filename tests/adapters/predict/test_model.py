"""Models in Python: what they take, what they return, how they show themselves."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_adapters import make_manifest, seen_by_cv, write_adapter
from training import write_cv_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import TrainingData
from valueeval.adapters.directory.manifest_file import read_manifest, write_manifest
from valueeval.adapters.predict.labelling import ADDED_COLUMNS
from valueeval.adapters.predict.model import Model, load
from valueeval.tasks.commands.score import make_report
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

ROWS = [
    {"reason": "Trees give shade", "topic": "Plant trees", "position": "pro"},
    {"reason": "They are messy", "topic": "Plant trees", "position": "con"},
]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    return write_adapter(tmp_path_factory.mktemp("runs") / "tiny", tiny_bert)


@pytest.fixture(scope="module")
def model(adapter: Path) -> Model:
    return load(str(adapter), device="cpu")


def test_frames_dicts_and_constants_give_the_same(model: Model) -> None:
    frame = pd.DataFrame(ROWS, index=["x", "y"])
    found = model.predict(frame)
    assert list(found.columns) == ["reason", "topic", "position", *ADDED_COLUMNS]
    assert list(found.index) == ["x", "y"]
    assert list(frame.columns) == ["reason", "topic", "position"]
    pd.testing.assert_frame_equal(model.predict(ROWS), found.reset_index(drop=True))
    one = model.predict(["Trees give shade"], conclusion="=Plant trees", stance="=pro")
    assert one["p_face"].tolist() == pytest.approx(found["p_face"].tolist()[:1], rel=1e-4)
    assert one["labelled_from"].tolist() == ["argument"]


def test_texts_are_read_alone(model: Model) -> None:
    found = model.predict(["Trees give shade", "", "They are messy"])
    assert found["labelled_from"].tolist() == ["text alone", "", "text alone"]
    assert found["problem"].tolist() == ["", "the text is empty", ""]
    assert found["face"].isna().tolist() == [False, True, False]
    assert str(found["face"].dtype) == "Int64"
    assert found["p_face"].dtype == float
    posts = pd.DataFrame({"n": [1], "post": ["Trees give shade"]})
    alone = model.predict(posts, text_column="post")
    assert alone["values"].tolist() == found["values"].tolist()[:1]


def test_missing_cells_of_pandas(model: Model) -> None:
    frame = pd.DataFrame({"text": pd.Series(["a b", None, pd.NA, float("nan")], dtype="object")})
    assert model.predict(frame)["problem"].tolist() == ["", *["the text is empty"] * 3]
    frame = pd.DataFrame({"text": pd.Series(["a b", pd.NA], dtype="string")})
    assert model.predict(frame)["problem"].tolist() == ["", "the text is empty"]


def test_stance_map_and_prefix(model: Model) -> None:
    rows = [{**ROWS[0], "position": "dafür"}]
    found = model.predict(rows, stance_map={"dafür": "pro"}, prefix="m_")
    assert found["m_p_face"].tolist() == pytest.approx(
        model.predict(ROWS)["p_face"].tolist()[:1], rel=1e-4
    )
    with pytest.raises(ValueEvalError, match=r"'values', 'problem', 'labelled_from' and 40 more"):
        model.predict(model.predict(ROWS))


def test_texts_in_any_wrapping(model: Model) -> None:
    texts = ["Trees give shade", "They are messy"]
    expected = model.predict(texts)
    pd.testing.assert_frame_equal(model.predict(iter(texts)), expected)
    pd.testing.assert_frame_equal(model.predict(np.array(texts, dtype=object)), expected)
    series = pd.Series(texts, index=[7, 8], name="said")
    assert model.predict(series)["values"].to_dict() == dict(
        zip((7, 8), expected["values"], strict=True)
    )
    found = model.predict([None, texts[0], 3])
    assert found["problem"].tolist() == ["the text is empty", "", "the text is not text: 3"]
    assert len(model.predict([])) == 0


def test_nothing_to_label(model: Model) -> None:
    found = model.predict(pd.DataFrame({"text": []}))
    assert list(found.columns) == ["text", *ADDED_COLUMNS]
    assert len(found) == 0


def test_what_is_no_table(model: Model) -> None:
    for data in ("a text", {"text": "a"}):
        with pytest.raises(ValueEvalError, match="give a DataFrame, a list of dicts, or a list of"):
            model.predict(data)  # type: ignore[arg-type]
    with pytest.raises(ValueEvalError, match=r"data: no column 'x' \(premise\)"):
        model.predict(ROWS, premise="x")
    with pytest.raises(ValueEvalError, match="Say conclusion and stance: each a column"):
        model.predict([{"premise": "a", "b": "c"}])
    twice = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ValueEvalError, match="column 'text' is there twice"):
        model.predict(twice)


def test_evaluate(model: Model, adapter: Path) -> None:
    data = load_set("sample")
    classifier = load_classifier(adapter, "cpu")
    logits = classifier.logits(data.arguments).astype(float)
    decided = classifier.manifest.thresholds.decide(logits)
    keys = [conclusion_key(conclusion) for conclusion in data.conclusions]
    ids = [str(number) for number in range(len(data.ids))]
    margins = logits - classifier.manifest.thresholds.logits
    expected = make_report(ids, data.labels, decided, keys, scores=margins)
    scores = model.evaluate("sample")
    assert scores.macro_f1 == pytest.approx(expected["macro_f1"], abs=0.02)
    assert scores["n"] == len(data.ids)
    assert "on sample" in scores.title


def test_what_it_was_trained_on_is_no_test(model: Model) -> None:
    with pytest.raises(ValueEvalError, match="was trained on training, so its scores there are"):
        model.evaluate("training")


def test_set_cv_is_evaluated_by_lm_eval(model: Model) -> None:
    with pytest.raises(ValueEvalError, match=r"set cv is evaluated fold by fold, by `lm_eval --ta"):
        model.evaluate("cv")


def test_labels_that_it_has_seen_are_no_test_under_any_name(
    adapter: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    """The protocol cv has read test labels; a copy of the test set is known by its hash."""
    data_dir = write_cv_data(tmp_path)
    for kind in ("arguments", "labels"):
        shutil.copy(data_dir / f"{kind}-test.tsv", data_dir / f"{kind}-test-nyt.tsv")
    manifest = replace(read_manifest(adapter), data=seen_by_cv(data_dir))
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    write_manifest(folder, manifest)
    model = load(str(folder), device="cpu")
    with pytest.raises(ValueEvalError, match="was trained on main, so its scores there are worth"):
        model.evaluate("main", str(data_dir))
    with pytest.raises(ValueEvalError, match=r"has seen labels of this set \(nyt\): evaluate it"):
        model.evaluate("nyt", str(data_dir))


def test_how_it_shows_itself(model: Model, adapter: Path) -> None:
    base = model.manifest.base_model.name
    assert repr(model) == f"<Model {adapter}: full on {base}, trained on touche23 training>"
    hostile = Model.__new__(Model)
    hostile.name = "<script>alert(1)</script>"
    hostile.manifest = make_manifest({}, data=TrainingData("<b>", "training", 1, "0" * 64))
    shown = hostile._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "validation macro_f1</th><td>0.500" in shown


def test_load_refuses_what_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="no such adapter"):
        load(str(tmp_path / "no"))


def test_labels_do_not_depend_on_company(model: Model) -> None:
    texts = [f"Trees give shade {'very ' * n}often" for n in range(20)]
    together = model.predict(texts)
    for n in (0, 7, 19):
        alone = model.predict([texts[n]])
        for slug in VALUE_SLUGS:
            assert alone[f"p_{slug}"][0] == pytest.approx(together[f"p_{slug}"][n], rel=1e-4)
    assert np.isfinite(together["p_face"]).all()
