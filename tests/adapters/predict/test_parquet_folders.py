"""`valueeval predict FOLDER --engine ray`: parts, going on after a kill, a local Ray cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_adapters import write_adapter

import valueeval
from valueeval.adapters.predict import parquet_folders
from valueeval.adapters.predict.layout import Roles
from valueeval.adapters.predict.model import Model
from valueeval.adapters.predict.parquet_folders import Part, Run, label_folder, label_part
from valueeval.tasks.errors import ValueEvalError

ROWS = 30
TEXTS = [f"Nobody should have to fear number {n}" * (1 + n % 3) for n in range(ROWS)]
TEXTS[4] = ""


@pytest.fixture
def adapter(tiny_bert: Path, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", tiny_bert)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one in a sub-folder, of two row groups each."""
    table = pd.DataFrame({"nr": range(ROWS), "text": TEXTS})
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    table[:20].to_parquet(folder / "a.parquet", row_group_size=10, index=False)
    table[20:].to_parquet(folder / "more" / "b.parquet", row_group_size=5, index=False)
    return folder


PARTS = ["a-00000", "a-00001", "more--b-00000", "more--b-00001"]


def in_this_process(parts: list[Part], run: Run) -> None:
    model: Model = valueeval.load(run.adapter, "cpu", engine="torch")
    for part in parts:
        label_part(part, run, model)


def labelled(output: Path) -> pd.DataFrame:
    files = [output / f"{name}.parquet" for name in PARTS]
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def expected(adapter: Path) -> pd.DataFrame:
    table = pd.DataFrame({"nr": range(ROWS), "text": TEXTS})
    return valueeval.load(str(adapter), "cpu", engine="torch").predict(table, text_column="text")


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert list(found.columns) == list(wanted.columns)
    pd.testing.assert_frame_equal(found.astype(wanted.dtypes), wanted, rtol=1e-4)


def test_parts_hold_the_labels_and_what_is_missing_is_made_again(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_folders, "_label_parts", in_this_process)
    output, roles = tmp_path / "out", Roles(text_column="text")
    summary = label_folder(folder, output, str(adapter), roles, engine="torch")
    wanted = expected(adapter)
    same(labelled(output), wanted)
    assert summary.rows == ROWS
    assert summary.problems == {"the text is empty": 1}
    assert summary.labelled.counts.tolist() == wanted[wanted["problem"] == ""].iloc[
        :, 5:25
    ].sum().tolist()  # fmt: skip

    made: list[list[str]] = []

    def note(parts: list[Part], run: Run) -> None:
        made.append([Path(part.target).stem for part in parts])
        in_this_process(parts, run)

    monkeypatch.setattr(parquet_folders, "_label_parts", note)
    (output / f"{PARTS[1]}.parquet").unlink()
    again = label_folder(folder, output, str(adapter), roles, engine="torch")
    assert made == [[PARTS[1]]]
    assert again.labelled.counts.tolist() == summary.labelled.counts.tolist()
    label_folder(folder, output, str(adapter), roles, engine="torch")
    assert len(made) == 1

    with pytest.raises(ValueEvalError, match="holds the labels of another run"):
        label_folder(folder, output, str(adapter), roles, prefix="x_", engine="torch")
    with pytest.raises(ValueEvalError, match="holds other files; name a new folder"):
        label_folder(folder, adapter, str(adapter), roles, engine="torch")
    with pytest.raises(ValueEvalError, match="lies in the folder that is read"):
        label_folder(folder, folder / "out", str(adapter), roles, engine="torch")


def test_a_part_that_fails_leaves_nothing(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parquet_folders, "_label_parts", in_this_process)
    monkeypatch.setattr(parquet_folders, "label_rows", fail)
    with pytest.raises(KeyboardInterrupt):
        label_folder(
            folder, tmp_path / "out", str(adapter), Roles(text_column="text"), engine="torch"
        )
    assert [file.name for file in (tmp_path / "out").iterdir()] == [parquet_folders.RUN_FILE]


def test_files_that_do_not_go_together_are_refused(
    adapter: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueEvalError, match=r"no file in it ends in \.parquet"):
        label_folder(adapter, tmp_path / "out", str(adapter), Roles())
    pd.DataFrame({"other": ["x"]}).to_parquet(folder / "z.parquet")
    with pytest.raises(ValueEvalError, match=r"z\.parquet: other columns, or of other types, than"):
        label_folder(folder, tmp_path / "out", str(adapter), Roles(text_column="text"))


def test_files_whose_labels_would_go_to_one_file_are_refused(
    adapter: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_folders, "_label_parts", in_this_process)
    shutil.copy(folder / "a.parquet", folder / "more--b.parquet")
    told = r"more/b\.parquet and .*more--b\.parquet: the labels of both would go to more--b-….parq"
    with pytest.raises(ValueEvalError, match=told):
        label_folder(folder, tmp_path / "out", str(adapter), Roles(text_column="text"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_a_local_cluster_from_the_command_line(
    adapter: Path, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    output = tmp_path / "out"
    command = [sys.executable, "-m", "valueeval", "predict", str(folder), "--engine", "ray"]
    command += ["-o", str(output), "--adapter", str(adapter), "--text_column", "text"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAY_TMPDIR": "/tmp"}  # noqa: S108
    environment["VALUEEVAL_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"{ROWS - 1} of {ROWS} rows labelled" in done.stdout
    same(labelled(output), expected(adapter))
