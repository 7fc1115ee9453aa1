"""`valueeval compare --pairs`: base models against aligned ones, on made-up twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import documents, predictions, write_results

from valueeval.leaderboard.commands import compare as cli_compare
from valueeval.leaderboard.commands.pairs import REGISTRY, changes_by_value, read_registry
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

DOCS = documents()
TRUTH = np.array([doc["labels"] for doc in DOCS], dtype=bool)
BASE, ALIGNED = "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"


def pairs_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli_compare.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def in_chat(content: dict[str, Any]) -> None:
    content["chat_template_sha"] = "a" * 64


def write_twins(folder: Path, base: np.ndarray, aligned: np.ndarray, **options: Any) -> None:
    for name, prediction, change in ((BASE, base, None), (ALIGNED, aligned, in_chat)):
        write_results(
            folder / name.replace("/", "__"), docs=DOCS, prediction=prediction, template="bca",
            model=name, model_args={"pretrained": name}, change=change, **options,
        )  # fmt: skip


def cells_of(page: str, value: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {value} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_made_up_twins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base says yes to everything, the aligned twin is right but never says Face."""
    everything, right = np.ones_like(TRUTH), TRUTH.copy()
    face = VALUE_NAMES.index("Face")
    right[:, face] = False
    write_twins(tmp_path, everything, right)
    page = pairs_of(capsys, tmp_path, "--pairs")
    assert "1 pair\n" in page
    assert "| alignment helps |" in page
    assert f"{BASE} (zero-shot)" in page
    assert f"{ALIGNED} (zero-shot, chat)" in page
    assert "135M parameters, aligned by SFT, DPO (as stated: https://arxiv.org" in page
    held = TRUTH.mean(axis=0)
    _, share, predicted, precision, recall = cells_of(page, "Achievement")
    achievement = held[VALUE_NAMES.index("Achievement")]
    assert float(share) == pytest.approx(achievement, abs=0.005)
    assert predicted.startswith(f"1.00 → {achievement:.2f}")
    assert precision.startswith(f"{achievement:.2f} → 1.00")
    assert recall == "1.00 → 1.00"
    _, _, predicted, precision, recall = cells_of(page, "Face")
    assert predicted == "1.00 → 0.00 \\*"  # told apart
    assert precision.startswith(f"{held[face]:.2f} → 0.00")
    assert recall.startswith("1.00 → 0.00")
    assert cells_of(page, "*mean*")[2] == f"1.00 → {right.mean():.2f}"


def test_twins_that_are_equal_are_not_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = predictions(DOCS, 0.5)
    write_twins(tmp_path, same, same)
    page = pairs_of(capsys, tmp_path, "--pairs")
    assert "| open |" in page
    table = page[page.index("| value |") :]
    assert table.count("\\*") == 1  # the note below the table


def test_pairs_were_asked_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A base with four examples is not compared with an aligned model without."""
    prediction = predictions(DOCS, 0.5)
    write_twins(tmp_path / "a", prediction, prediction)
    page = pairs_of(capsys, tmp_path, "--pairs", "--task", "valueeval_bca")
    assert "1 pair\n" in page
    write_results(
        tmp_path / "b", docs=DOCS, prediction=prediction, template="bca", model=BASE,
        model_args={"pretrained": BASE}, shots=4,
    )  # fmt: skip
    assert "1 pair\n" in pairs_of(capsys, tmp_path, "--pairs")
    with pytest.raises(ValueEvalError, match="no base model and its aligned one are both among"):
        cli_compare.main([str(tmp_path / "b"), "--pairs"])
    with pytest.raises(ValueEvalError, match="name their folders before it"):
        cli_compare.main(["--pairs"])


def test_changes_by_hand() -> None:
    """Four arguments on four conclusions; value 0 is held by two of them."""
    truth = np.zeros((4, 20), dtype=bool)
    truth[:2, 0] = True
    base, aligned = truth.copy(), truth.copy()
    base[:, 0] = [True, False, True, False]
    aligned[:, 0] = [True, True, True, True]

    def run(prediction: np.ndarray) -> Predictions:
        ids = tuple("abcd")
        return Predictions(ids, truth, prediction, ids, ids, ids)

    (change,) = changes_by_value([run(base)], [run(aligned)])
    assert (change.name, change.held) == (VALUE_NAMES[0], 0.5)
    found = {share: (each.mean_a, each.mean_b) for share, each in change.changes.items()}
    assert found == {"predicted": (0.5, 1.0), "precision": (0.5, 0.5), "recall": (0.5, 1.0)}


def test_the_registry_names_a_source_for_what_it_states() -> None:
    found = read_registry(REGISTRY)
    assert len({(each.base, each.model) for each in found}) == len(found) >= 15
    for each in found:
        assert each.base != each.model
        assert each.sources
        assert all(source.startswith("https://") for source in each.sources)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "no YAML"),
        ("a: 1", "'pairs' \\(a list\\) is missing"),
        ("pairs: [{base: a}]", "pair 1 is not"),
        ("pairs: [{base: a, aligned: [{model: 3}]}]", "names and sources are texts"),
        ("pairs: [3]", "pair 1 is not"),
    ],
)
def test_a_malformed_registry(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pairs.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueEvalError, match=message):
        read_registry(path)
    with pytest.raises(ValueEvalError, match="cannot be read"):
        read_registry(tmp_path / "missing.yaml")
