"""GPUs that are named: what is no name, what is not there, and what a cell of several takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from valueeval.study import cli
from valueeval.study.design import DesignError
from valueeval.study.running.devices import check_devices, read_devices
from valueeval.study.running.execute import environment
from valueeval.tasks.errors import ValueEvalError


def test_names() -> None:
    assert read_devices("") == []
    assert read_devices("0, 11") == ["0", "11"]
    parts = ["GPU-8a56a4bc-3d3f", "MIG-c7384736-a75d", "MIG-GPU-8a56a4bc/1/0"]
    assert read_devices(",".join(parts)) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda:0", "'cuda:0' is no GPU; write 0,1"),
        ("0,", "'' is no GPU"),
        ("-1", "'-1' is no GPU"),
        ("0,1,0", "names a GPU twice"),
    ],
)
def test_what_is_no_name(text: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        read_devices(text)


def test_a_gpu_that_is_not_there() -> None:
    """CUDA hides all GPUs from a process that is given none of them."""
    check_devices([])
    with pytest.raises(ValueEvalError, match="PyTorch sees no GPU 99 on this machine"):
        check_devices(["99"])


def test_numbers_are_those_of_the_driver() -> None:
    given = environment(1, "1")
    assert (given["CUDA_DEVICE_ORDER"], given["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", "1")


def test_a_cell_of_several_processes_needs_several_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    options = {"data": "sample", "base": str(tmp_path / "base")}
    blocks = {"a": {"factors": {"processes": [1, 4]}}}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"options": options, "blocks": blocks}), encoding="utf-8")
    words = [str(file), "-o", str(tmp_path / "out"), "--devices", "0,1,2,3"]
    with pytest.raises(DesignError, match="one GPU, and a: processes 4 takes 4: run it"):
        cli.main(words)
    with pytest.raises(DesignError, match="processes 4 takes 4"):
        cli.main([*words, "--jobs", "2"])
    monkeypatch.setattr(cli, "_run", lambda *given: None)
    monkeypatch.setattr(cli, "check_devices", lambda devices: None)
    assert cli.main([*words, "--only", "processes=1"]) == 0
