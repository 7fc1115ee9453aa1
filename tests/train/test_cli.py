"""The command `valueeval train` and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from valueeval.train.cli import main


def test_command_says_where_the_adapter_is_and_how_to_evaluate_it(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my adapter"
    words = ["--base", str(tiny_bert), "--data=sample", "--epochs=1", "--max-length=48"]
    assert main([*words, "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert f"{output}: macro_f1 0." in printed.out
    assert "lm_eval --tasks valueeval_cls_sample --model valueeval" in printed.out
    assert f"--model_args 'adapter={output}'" in printed.out
    assert "longer than 48 tokens and were cut" in printed.err
    assert "epoch 1: loss" in printed.err
