"""`valueeval completion`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from valueeval import cli, completion


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "valueeval.bash"
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


def completed(script: Path, line: str) -> set[str]:
    """What bash offers after a line, whose last word is begun or empty."""
    words = line.split(" ")
    function = re.search(r"complete .*-F (\S+) valueeval", script.read_text(encoding="utf-8"))
    assert function
    code = (
        f"source {script}; COMP_WORDS=({' '.join(word or repr('') for word in words)}); "
        f"COMP_CWORD={len(words) - 1}; {function[1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        [str(shutil.which("bash")), "-c", code], capture_output=True, text=True, check=True
    )
    return {word.strip() for word in done.stdout.split("\n")} - {""}


def test_bash_completes_commands_options_and_their_values(bash_script: Path) -> None:
    assert completed(bash_script, "valueeval le") == {"leaderboard"}
    assert completed(bash_script, "valueeval ") >= set(cli.COMMANDS)
    assert "--learning_rate" in completed(bash_script, "valueeval train --learn")
    assert "--tasks" in completed(bash_script, "valueeval run --ta")
    assert completed(bash_script, "valueeval data f") == {"fetch"}
    assert completed(bash_script, "valueeval predict --input_format par") == {"parquet"}
    assert completed(bash_script, "valueeval train --method lo") == {"lora"}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "leaderboard" in capsys.readouterr().out
