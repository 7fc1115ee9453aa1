"""Tables that are dropped on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from naming_model import NamingModel

from valueeval.adapters.predict.layout import Roles
from valueeval.app.tables import columns_of, label_table
from valueeval.tasks.errors import ValueEvalError

SURVEY = "group;text\nleft;Tradition is <b>dear</b>\nright;Face and Hedonism\nright;\n"


class Model(NamingModel):
    """A model for the page."""

    rows_at_once = None


def labelled(path: Path, roles: Roles | None = None, by: str | None = None) -> tuple[str, str]:
    model: object = Model()
    progress: list[tuple[int, int]] = []
    found = label_table(
        str(path), model, roles or Roles(), by, False,  # type: ignore[arg-type]
        lambda done, total: progress.append((done, total)),
    )  # fmt: skip
    rows = progress[-1][1]
    assert progress == [(number, rows) for number in range(1, rows + 1)]
    return found


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    (tmp_path / "survey.csv").write_text(SURVEY, encoding="utf-8")
    return tmp_path / "survey.csv"


def test_rows_shares_by_group_and_hostile_text(survey: Path) -> None:
    assert columns_of(str(survey)) == ["group", "text"]
    path, summary = labelled(survey, by="group")
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    assert Path(path).name == "survey-labelled.csv"
    assert len(lines) == 4
    assert lines[1].startswith("left;Tradition is <b>dear</b>;Tradition;;text alone;")
    assert "2 of 3 rows labelled." in summary
    assert "the text is empty" in summary
    assert "Tradition is &lt;b&gt;dear&lt;/b&gt;" in summary
    assert "<b>dear" not in summary
    tradition = summary.split("Tradition</th>")[1].split("</tr>")[0]
    assert [part.split(" %")[0] for part in tradition.split("<span>")[1:]] == ["50", "100", "0"]


def test_it_can_be_labelled_twice_and_columns_of_ours_stay(survey: Path) -> None:
    labelled(survey)
    path, _ = labelled(survey)
    again, _ = labelled(Path(path), Roles(text_column="text"))
    header = Path(again).read_text(encoding="utf-8").splitlines()[0]
    assert ";values;" in header
    assert ";predicted_values;" in header


def test_hand_labels_keep_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,Face\nTradition is dear,1\n", encoding="utf-8")
    path, _ = labelled(tmp_path / "a.csv")
    header = Path(path).read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header[:2] == ["text", "Face"]
    assert "predicted_face" in header


def test_conclusion_and_stance_are_found_beside_a_chosen_text(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("Premise,Conclusion,Stance\nTradition is dear,Keep it,for\n")
    path, _ = labelled(source, Roles(text_column="Premise"))
    assert ",Tradition,,argument," in Path(path).read_text(encoding="utf-8")


def test_columns_of_ids_are_refused_before_anything_is_labelled(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("id,text\n" + "".join(f"{n},We care\n" for n in range(1001)))
    with pytest.raises(ValueEvalError, match="Column 'id' has more than 1000 different"):
        label_table(str(source), None, Roles(), "id", False, lambda done, total: None)  # type: ignore[arg-type]


def test_an_unclear_table_names_the_fields_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("premise,a,b\nOne thing,x,y\n", encoding="utf-8")
    with pytest.raises(ValueEvalError, match="«Conclusion»") as told:
        labelled(tmp_path / "a.csv")
    assert "--" not in str(told.value)
    (tmp_path / "b.csv").write_text("text\n", encoding="utf-8")
    with pytest.raises(ValueEvalError, match="there is no row in it"):
        labelled(tmp_path / "b.csv")
