"""Files are written whole or not at all; errors say what to do."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.storage.atomic_writing import save_tensors, write_json, writing


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free space there, or choose another --output"),
        (errno.EROFS, "choose an --output where you may write"),
        (errno.EACCES, "choose an --output where you may write"),
        (errno.EIO, "; choose another --output. --resume continues an interrupted run"),
    ],
)
def test_what_to_do_about_a_failure_to_write(tmp_path: Path, number: int, cure: str) -> None:
    with pytest.raises(ValueEvalError, match=cure), writing(tmp_path):
        raise OSError(number, "it fails")
    with pytest.raises(ValueEvalError, match=cure), writing(tmp_path):
        raise SafetensorError(f"I/O error: it fails (os error {number}) at path")


def test_half_written_files_go_away(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"a": 1}
    with pytest.raises(ValueEvalError, match="cannot write"):
        save_tensors({"a": torch.zeros(1)}, tmp_path / "none" / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
