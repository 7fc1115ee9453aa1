"""``valueeval run``."""

from __future__ import annotations

import sys

import pytest

from valueeval import cli, run


def test_run_hands_its_arguments_to_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.__main__

    seen: list[list[str]] = []
    monkeypatch.setattr(run, "register", lambda: seen.append(["registered"]))
    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: seen.append(sys.argv[1:]))
    before = sys.argv
    assert cli.main(["run", "--tasks", "valueeval_cot", "--limit", "4"]) == 0
    assert seen == [["registered"], ["run", "--tasks", "valueeval_cot", "--limit", "4"]]
    assert sys.argv is before
