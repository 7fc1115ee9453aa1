"""Names of rows: given ones, or what tells systems apart; variants stand under their parent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from leaderboard_results import OFFICIAL_SHA, manifest, outputs, table_of, write_results

from valueeval.leaderboard.table.names import Given, name_rows, read_names
from valueeval.leaderboard.table.table import Row
from valueeval.tasks.errors import ValueEvalError


def named(results: Path, given: dict[str, Given] | None = None) -> dict[str, Row]:
    """Rows by the name of their folder."""
    table = name_rows(table_of(results), given)
    return {row.folder: row for board in table.boards for row in board.rows}


def train(results: Path, folder: str, data: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the results of an adapter with these settings, seed and data."""
    config = {"epochs": 3, "loss": "bce", "learning_rate": 2e-4, **changes.pop("config", {})}
    of_data = {**manifest()["data"], **(data or {})}
    of_data["sha256"] = hashlib.sha256(of_data["set"].encode()).hexdigest()
    write_results(
        results / folder, kind="valueeval", model=folder, model_args={"adapter": f"runs/{folder}"},
        adapter=manifest(config=config, data=of_data, **changes),
    )  # fmt: skip


def test_a_name_says_what_differs_from_most(tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tmp_path, f"a-s{seed}", seed=seed)
    for folder, config in (("b", {"loss": "distribution-balanced", "pos_weight_power": 0}),
                           ("c", {"learning_rate": 1e-3}), ("d", {"epochs": 9,
                            "contrastive": "joint", "contrastive_weight": 0.1})):  # fmt: skip
        train(tmp_path, folder, config=config)
    train(tmp_path, "e", method="lora", config={"lora_rank": 8, "learning_rate": 5e-4})
    train(tmp_path, "mean", config={"members": [{}, {}]})
    assert {folder: row.name for folder, row in named(tmp_path).items()} == {
        "a": "minilm, full",
        "b": "minilm, full, loss distribution-balanced",
        "c": "minilm, full, learning_rate 0.001",
        "d": "minilm, full, contrastive joint, epochs 9",
        "e": "minilm, lora",
        "mean": "minilm, full, mean of 2",
    }


def test_a_part_of_the_training_data_is_always_named(tmp_path: Path) -> None:
    """Even where it is all there is: a name without it promises the whole."""
    train(tmp_path, "few", config={"train_size": 64})
    assert named(tmp_path)["few"].name == "minilm, train_size 64"
    train(tmp_path, "shots", config={"shots_per_value": 4})
    train(tmp_path, "all", config={"train_size": None})
    rows = named(tmp_path)
    assert {folder: row.name for folder, row in rows.items()} == {
        "few": "minilm, train_size 64",
        "shots": "minilm, shots_per_value 4",
        "all": "minilm",
    }
    assert rows["few"].variant_of == "minilm"


def test_a_pooling_is_that_of_the_head(tmp_path: Path) -> None:
    """Said or left open: what an open one means has changed with versions."""
    train(tmp_path, "open-s0", seed=0)
    train(tmp_path, "said-s1", seed=1, config={"pooling": "mean"})
    train(tmp_path, "fast", config={"learning_rate": 1e-3})
    train(tmp_path, "last", head={"kind": "linear", "pooling": "last"})
    rows = name_rows(table_of(tmp_path)).boards[0].rows
    assert {row.name: len(row.runs) for row in rows} == {
        "minilm": 2,
        "minilm, learning_rate 0.001": 1,
        "minilm, pooling last": 1,
    }


def test_only_what_is_needed_stands_in_a_name(tmp_path: Path) -> None:
    train(tmp_path, "full-s0")
    write_results(tmp_path / "gpt2", model="gpt2", template="bca")
    assert {row.name for row in named(tmp_path).values()} == {"minilm", "gpt2"}
    write_results(tmp_path / "gpt2-3", model="gpt2", template="bca", shots=3)
    board, *_ = name_rows(table_of(tmp_path)).boards
    assert {row.name for row in board.rows} == {"minilm", "gpt2, zero-shot", "gpt2, 3-shot"}


def test_one_model_asked_in_two_ways(tmp_path: Path) -> None:
    """Rows of one folder are told apart by how the model was asked."""
    for day, template in ((1, None), (2, "a" * 64)):
        write_results(
            tmp_path / "gpt", model="gpt", day=day,
            change=lambda content, sha=template: content.update(chat_template_sha=sha),
        )  # fmt: skip
    table = name_rows(table_of(tmp_path))
    rows = [row for board in table.boards for row in board.rows]
    assert {row.name for row in rows} == {"gpt, zero-shot", "gpt, zero-shot, chat"}


def test_two_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder, objective in (("x", "bce"), ("y", "other")):
        train(tmp_path, folder, objective=objective)
    assert {row.name for row in named(tmp_path).values()} == {"minilm [x]", "minilm [y]"}


def test_folds_and_ablations_are_variants(tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tmp_path, f"full-s{seed}", seed=seed)
    train(tmp_path, "focal", config={"loss": "focal"})
    train(tmp_path, "both", config={"loss": "focal", "epochs": 9})
    train(tmp_path, "more", {"set": "training+validation"})
    folds = {"set": "training+validation", "folds": 2}
    for fold in (0, 1):
        settings = {"folds": 2, "fold": fold}
        train(tmp_path, f"fold{fold}", {**folds, "left_out": [fold]}, config=settings)
    train(tmp_path, "mean", {**folds, "left_out": [0, 1]}, config={"members": [{}, {}]})
    rows = named(tmp_path)
    mean = rows["mean"].name
    assert mean == "minilm, 2 folds of training+validation"
    assert rows["fold1"].name == "minilm, training+validation without fold 1 of 2"
    assert {folder: row.variant_of for folder, row in rows.items()} == {
        "full": None, "focal": "minilm", "both": None, "more": None, "mean": None,
        "fold0": mean, "fold1": mean,
    }  # fmt: skip


def test_given_names_go_before_made_up_ones(tmp_path: Path) -> None:
    results = tmp_path / "results"

    def change(content: dict[str, Any]) -> None:
        metadata = content["configs"]["valueeval_bca"]["metadata"]
        metadata |= {"name": "My model", "link": "https://example.org/m?x=1"}

    train(results, "full", config={"name": "Ours"})
    train(results, "focal", config={"loss": "focal"})
    write_results(results / "gpt2", model="gpt2", template="bca", change=change)
    rows = named(results)
    assert [rows[folder].name for folder in ("full", "gpt2")] == ["Ours", "My model"]
    assert rows["gpt2"].link == "https://example.org/m?x=1"
    file = tmp_path / "names.yaml"
    file.write_text("focal: Focal\ngpt2: {link: 'https://example.org/n'}\nnobody: X\n")
    page = outputs(results, ".md", options=["--names", str(file)])[".md"]
    assert "| Focal |" in page
    assert "| [My model](<https://example.org/n>) |" in page
    assert "- --names: no row is called nobody" in page


@pytest.mark.parametrize("address", ["javascript:alert(1)", "https://x/<b>", "ftp://x", 5, "//x"])
def test_no_other_address_becomes_a_link(tmp_path: Path, address: object) -> None:
    def change(content: dict[str, Any]) -> None:
        content["configs"]["valueeval_cls"]["metadata"]["link"] = address

    write_results(tmp_path / "r", change=change)
    (row,) = named(tmp_path / "r").values()
    assert row.link is None
    (tmp_path / "names.yaml").write_text(f"a: {{link: '{address}'}}")
    with pytest.raises(ValueEvalError, match=r"a: link must be an address \(https"):
        read_names(tmp_path / "names.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "not a mapping of rows to names"),
        ("a: [b]", "a: give a name, or a mapping of name and link"),
        ("a: {nom: b}", "a: give a name"),
        ("a: {", "cannot be read as YAML"),
    ],
)
def test_a_file_of_names_that_is_none_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "names.yaml").write_text(content)
    with pytest.raises(ValueEvalError, match=message):
        read_names(tmp_path / "names.yaml")


def test_a_row_can_be_named_by_its_folder(tmp_path: Path) -> None:
    train(tmp_path / "r", "full")
    train(tmp_path / "r", "focal", config={"loss": "focal"})
    page = outputs(tmp_path / "r", ".md", options=["--reference", "full cls"])[".md"]
    assert "| vs minilm, loss bce |" in page
    assert OFFICIAL_SHA[:12] in page
