"""The options of `valueeval train`: a file, flags, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from valueeval.adapters.manifest import Head
from valueeval.train.config import ConfigError, TrainConfig, build_parser, parse_config


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("output: from-file\nepochs: 3\nbatch_size: 4\n", "utf-8")
    config = parse_config(["--config", str(file), "--epochs", "5"])
    assert (config.output, config.epochs, config.batch_size) == ("from-file", 5, 4)


def test_dashes_and_underscores_are_one() -> None:
    dashes = parse_config(["--output=x", "--batch-size", "4", "--learning-rate=1e-3"])
    underscores = parse_config(["--output=x", "--batch_size", "4", "--learning_rate=1e-3"])
    assert dashes == underscores
    assert (dashes.batch_size, dashes.learning_rate) == (4, 0.001)
    assert parse_config(["--output", "a-b", "--data-dir", "c-d"]).data_dir == "c-d"


@pytest.mark.parametrize(
    ("words", "resume"),
    [([], False), (["--resume"], True), (["--resume", "true"], True), (["--resume=false"], False)],
)
def test_resume_is_a_switch(words: list[str], resume: bool) -> None:
    assert parse_config([*words, "--output=x"]).resume is resume


def test_switches_of_several_words() -> None:
    config = parse_config(["--gradient-checkpointing", "--compile", "--output=x"])
    assert (config.gradient_checkpointing, config.compile, config.resume) == (True, True, False)


def test_printed_configuration_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_config(["--output=x", "--epochs=2", "--print-config"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["epochs"] == 2
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == TrainConfig("x", epochs=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "many"], "epochs: 'many'; allowed: a whole number"),
        (["--epochs", "0"], "epochs: 0; allowed: 1 or more"),
        (["--learning-rate", "fast"], "learning_rate: 'fast'; allowed: a number"),
        (["--learning-rate", ".nan"], "learning_rate: nan; allowed: above 0"),
        (["--learning-rate", ".inf"], "learning_rate: inf; allowed: above 0"),
        (["--pooling", "max"], "pooling: 'max'; allowed: 'mean', 'cls', 'last', 'attention'"),
        (["--dropout", "1"], "dropout: 1.0; allowed: from 0 to below 1"),
        (["--layer-decay", "0"], "layer_decay: 0.0; allowed: above 0, at most 1"),
        (["--seed", "-1"], "seed: -1; allowed: 0 to 4294967295"),
        (["--max-length", "4"], "max_length: 4; allowed: 8 or more"),
        (["--segments", "[a, b, c]"], "segments: 3 texts; allowed: one or two"),
        (["--segments", "['{text}']"], "segments: field {text} in '{text}'; allowed: {premise},"),
        (["--batch-sise", "4"], "no option --batch_sise; did you mean --batch_size"),
        (["--colour", "4"], "no option --colour; see --help"),
        (["--config", "no-such-file.yaml"], "no-such-file.yaml"),
        (["--loss", "hinge"], "loss: 'hinge'; allowed: 'bce', 'focal', 'distribution-balanced'"),
        (["--focal-gamma", "much"], "focal_gamma: 'much'; allowed: a number"),
        (["--focal-gamma", "-1"], "focal_gamma: -1.0; allowed: 0 or more"),
        (
            ["--loss=focal", "--positive-weight=0"],
            "positive_weight: 0.0 has no meaning with --loss focal: leave it out, or take",
        ),
        (["--method=head", "--layer-decay=0.5"], "leave it out, or take --method full"),
        (
            ["--method=prefix-tuning", "--gradient-checkpointing"],
            "gradient_checkpointing: does not go with --method prefix-tuning",
        ),
        (["--method=head", "--gradient-checkpointing"], "with --method head, which keeps nothing"),
        (
            ["--method=lora", "--template=bca", "--gradient-checkpointing"],
            "with --template bca, which reads once what prompts share",
        ),
        (
            ["--method=lora", "--template=oa", "--compile"],
            "compile: does not go with --template oa",
        ),
        (["--tokens-at-once=0"], "tokens_at_once: 0; allowed: 1 or more"),
        (["--method=heads"], "method: 'heads'; allowed: 'full', 'head'"),
        (["--contrastive=joint", "--method=head"], "take --method full or lora"),
        (["--contrastive-weight=0.5"], "leave it out, or take --contrastive joint"),
        (["--heads=multiple", "--pooling=cls"], "pooling: 'cls' has no meaning with --heads multi"),
        (["--focal-gamma=2"], "or take --loss focal or distribution-balanced"),
        (["--folds", "1"], "folds: 1; allowed: 2 or more"),
        (["--folds", "5"], "fold: None; allowed with --folds 5: 0 to 4"),
        (["--folds=5", "--fold=5"], "fold: 5; allowed with --folds 5: 0 to 4"),
        (["--folds=5", "--fold=-1"], "fold: -1; allowed: 0 or more"),
        (["--fold=0"], "fold: 0 has no meaning without --folds"),
        (["--teacher-weight=0.5"], "teacher_weight: 0.5 has no meaning without --teacher"),
        (["--teacher=a", "--teacher-weight=0"], "teacher_weight: 0.0; allowed: above 0, at most 1"),
        (["--teacher=a", "--loss=focal"], "teacher: has no meaning with --loss focal"),
        (["--output", " "], "output: ' '; allowed: the name of a directory"),
        (["--output", "."], "output: '.'; allowed: the name of a directory"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(["--output=x", *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_output_must_be_named() -> None:
    with pytest.raises(ConfigError, match="required: output"):
        parse_config([])


def test_a_wrong_option_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("output: x\nepoch: 3\n", "utf-8")
    with pytest.raises(ConfigError, match="epoch"):
        parse_config(["--config", str(file)])


def test_every_option_has_help() -> None:
    text = build_parser().format_help()
    actions = [action for action in build_parser()._actions if action.dest != "help"]
    assert actions
    assert not [action.dest for action in actions if not action.help]
    assert "default: 32" in text


def test_what_is_left_open_depends_on_other_options() -> None:
    assert TrainConfig("x").with_defaults().positive_weight == 0.5
    assert TrainConfig("x", positive_weight=0.0).with_defaults().positive_weight == 0.0
    focal = TrainConfig("x", loss="focal").with_defaults()
    assert (focal.focal_gamma, focal.positive_weight) == (2.0, None)
    assert focal.with_defaults() == focal
    assert TrainConfig("x").with_defaults().head == Head("linear", "mean")
    assert focal.teacher_weight is None
    assert TrainConfig("x", teacher="a").with_defaults().teacher_weight == 0.5
    assert TrainConfig("x", heads="multiple").with_defaults().head == Head("multiple", "attention")


def test_what_is_left_open_depends_on_the_method() -> None:
    full = TrainConfig("x").with_defaults()
    assert (full.epochs, full.learning_rate, full.layer_decay) == (5, 2e-4, 0.9)
    head = TrainConfig("x", method="head", epochs=3).with_defaults()
    assert (head.epochs, head.learning_rate, head.layer_decay) == (3, 1e-3, None)


def test_recipe_is_what_the_result_depends_on() -> None:
    one = TrainConfig("a", data_dir="b", resume=True, checkpoint_seconds=1)
    assert one.recipe() == TrainConfig("c").recipe()
    assert one.recipe() != TrainConfig("a", seed=1).recipe()
