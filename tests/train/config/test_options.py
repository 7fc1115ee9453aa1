"""The options of `valueeval train`: a file, flags, and what is said about wrong ones."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from valueeval.adapters.directory.input_format import Head
from valueeval.train.config.choices import MethodName
from valueeval.train.config.combinations import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.options import build_parser, parse_config


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("output: from-file\nepochs: 3\nbatch_size: 4\n", "utf-8")
    config = parse_config(["--config", str(file), "--epochs", "5"])
    assert (config.output, config.epochs, config.batch_size) == ("from-file", 5, 4)


def test_flags_win_wherever_the_file_stands(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("epochs: 3\nbatch_size: 4\nseed: 1\n", "utf-8")
    second.write_text("batch-size: 8\n", "utf-8")
    words = ["--output=x", "--epochs=5", f"--config={first}", "--config", str(second), "--seed=2"]
    config = parse_config(words)
    assert (config.epochs, config.batch_size, config.seed) == (5, 8, 2)


def test_a_home_directory_may_be_written_as_in_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "train.yaml"
    file.write_text("output: ~/x\nbase: ~/y\nteacher: ~/a+b+~/c\n", "utf-8")
    config = parse_config(["--config=~/train.yaml", "--data_dir=~/z"])
    assert (config.output, config.base) == (f"{tmp_path}/x", f"{tmp_path}/y")
    assert config.data_dir == f"{tmp_path}/z"
    assert config.teacher == f"{tmp_path}/a+b+{tmp_path}/c"


def test_dashes_and_underscores_are_one() -> None:
    dashes = parse_config(["--output=x", "--batch-size", "4", "--learning-rate=1e-3"])
    underscores = parse_config(["--output=x", "--batch_size", "4", "--learning_rate=1e-3"])
    assert dashes == underscores
    assert (dashes.batch_size, dashes.learning_rate) == (4, 0.001)
    assert parse_config(["--output", "a-b", "--data-dir", "c-d"]).data_dir == "c-d"


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ([], False),
        (["--resume"], True),
        (["--resume", "true"], True),
        (["--resume", "True"], True),
        (["--resume", "yes"], True),
        (["--resume", "no"], False),
        (["--resume=false"], False),
        (["--resume=No"], False),
        (["--resume", "--seed=1"], True),
    ],
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
    config = TrainConfig("x", epochs=2).with_defaults()
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config


@pytest.mark.parametrize(
    "options",
    [
        "--template=mbc --method=lora",
        "--template=bca --method=prompt+full --loss=focal",
        "--template=oa --method=prompt-tuning",
        "--heads=cross-encoder",
        "--contrastive=pretrain --contrastive-positives=views",
        "--contrastive=joint --method=p-tuning --data=sample",
        "--method=head --heads=multiple --teacher=a",
        "--loss=distribution-balanced --folds=5 --fold=0",
    ],
)
def test_any_printed_configuration_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    """Without an output, too: what is printed has none then."""
    words = options.split()
    with pytest.raises(SystemExit):
        parse_config(["--print_config", *words])
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out, "utf-8")
    expected = parse_config(["--output=x", *words]).with_defaults()
    assert parse_config(["--output=x", "--config", str(file)]) == expected


def test_a_printed_configuration_is_a_right_one() -> None:
    with pytest.raises(ConfigError, match="epochs: 0; allowed: 1 or more"):
        parse_config(["--epochs=0", "--print_config"])


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
        (["--resume=maybe"], "resume: 'maybe'; allowed: true or false"),
        (["--segments=abc"], "segments: 'abc'; allowed: one or two texts, as in ['{premise}'"),
        (["--segments=[1]"], "segments: '[1]'; allowed: text (in quotes, if it looks like"),
        (["--segments=['']"], "segments: ['']; allowed: texts that are not empty"),
        (["--segments=[for, against]"], "allowed: texts with fields in them"),
        (["--segments=['{premise}']", "--separator=;"], "separator: ';' has no meaning with one"),
        (["--outpu=x"], "no option --outpu; did you mean --output?"),
        (["--batch_size=null"], "batch_size: 'None'; allowed: a whole number"),
        (["--base="], "base: ''; allowed: minilm, a folder or a hub id"),
        (["--base", " "], "base: ' '; allowed: minilm, a folder or a hub id"),
        (["--data=sample", "--data-dir=x"], "data_dir: 'x' has no meaning with --data sample"),
        (
            ["--contrastive=joint", "--contrastive-queue=0"],
            "contrastive_queue: 0; allowed: 1 or more",
        ),
        (
            ["--contrastive=pretrain", "--contrastive-queue=-5"],
            "contrastive_queue: -5; allowed: 1 or more",
        ),
        (
            ["--contrastive=pretrain", "--contrastive-epochs=0"],
            "contrastive_epochs: 0; allowed: 1 or more",
        ),
        (
            ["--contrastive=pretrain", "--contrastive-positives=views", "--contrastive-queue=9"],
            "contrastive_queue: 9 has no meaning with --contrastive_positives views",
        ),
        (
            ["--method=p-tuning", "--init=random"],
            "with --method p-tuning, whose virtual tokens are made by a network: leave it out, or "
            "take --method prompt-tuning or prefix-tuning",
        ),
        (
            ["--method=prefix-tuning", "--init=values", "--prompt-hidden-size=8"],
            "init: 'values' has no meaning with --prompt_hidden_size",
        ),
        (
            ["--method=prompt-tuning", "--init=Vocab"],
            "init: 'Vocab' would be a text to start from; take 'vocabulary' if you mean that, or "
            "'Vocab ', with a blank, for the word itself",
        ),
        (["--method=prefix-tuning", "--init=value"], "take 'values' if you mean that"),
        (["--method=prompt-tuning", "--init=radnom"], "take 'random' if you mean that"),
        (["--method=prompt-tuning", "--init= "], "init: ' '; allowed: random, vocabulary, templ"),
        (["--weight-decay=.inf"], "weight_decay: inf; allowed: 0 or more"),
        (["--output", " "], "output: ' '; allowed: the name of a directory"),
        (["--output", "."], "output: '.'; allowed: the name of a directory"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(["--output=x", *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("init", ["value ", "a template", "care", "Which value?"])
def test_a_prompt_may_start_from_any_words(init: str) -> None:
    assert parse_config(["--output=x", "--method=prompt-tuning", f"--init={init}"]).init == init


def test_the_output_must_be_named() -> None:
    with pytest.raises(ConfigError, match="required: output"):
        parse_config([])


def test_a_wrong_option_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("output: x\nepoch: 3\n", "utf-8")
    with pytest.raises(ConfigError, match=r"train\.yaml: no option epoch; did you mean epochs\?"):
        parse_config(["--config", str(file)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"output: \xff\n", "cannot be read as YAML in UTF-8: 'utf-8' codec can't decode"),
        (b"output: [x\n", "cannot be read as YAML in UTF-8: while parsing a flow sequence"),
        (b"- output\n", "allowed: lines of `option: value`"),
        (b"epochs: many\n", "epochs: 'many'; allowed: a whole number"),
        (b"output: 3\n", "output: '3'; allowed: text (in quotes, if it looks like a number)"),
        (b"batch-size: 3\nbatch_size: 4\n", "option batch_size is there twice"),
        (b"batch_size: null\n", "batch_size: null; leave it out for its default, 32"),
        (b"config: other.yaml\n", "no option config; see --help"),
    ],
)
def test_what_is_wrong_with_a_file_names_it(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "train.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        parse_config(["--output=x", "--config", str(file)])
    assert str(caught.value).startswith(f"--config {file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read .*: No such file"):
        parse_config(["--output=x", f"--config={tmp_path}/none.yaml"])
    with pytest.raises(ConfigError, match="--config: name a YAML file"):
        parse_config(["--output=x", "--config"])
    (tmp_path / "empty.yaml").write_text("", "utf-8")
    assert parse_config(["--output=x", f"--config={tmp_path}/empty.yaml"]) == TrainConfig("x")


def test_every_option_has_help() -> None:
    text = build_parser().format_help()
    actions = [action for action in build_parser()._actions if action.dest != "help"]
    assert actions
    assert not [action.dest for action in actions if not action.help]
    assert "default: 32" in text


# Options that choose nothing about the result, or that have no default but what is asked for.
WITHOUT_SOURCE = {
    *("config", "print_config", "output", "revision", "data_dir", "fold", "teacher", "log_with"),
    *("resume", "push_to_hub", "hub_private"),
}


def test_every_option_names_its_default_and_its_source() -> None:
    """In its own words where it depends on something else (null), else as the parser adds it."""
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    helps = {a.dest: " ".join(str(a.help).split()) for a in build_parser()._actions}
    assert set(defaults) < set(helps)
    for name, default in defaults.items():
        if name not in WITHOUT_SOURCE:
            assert "Source: " in helps[name], name
        if name != "output" and default is None:
            assert re.search(r"\bnull\b", helps[name]), name


def test_help_names_the_defaults_that_methods_have() -> None:
    helps = {a.dest: " ".join(str(a.help).split()) for a in build_parser()._actions}
    for method in get_args(MethodName):
        template = "bca" if method == "prompt+full" else None
        config = TrainConfig("x", method=method, template=template).with_defaults()
        for name in ("epochs", "learning_rate", "layer_decay"):
            if (value := getattr(config, name)) is None:
                continue
            numbers = re.findall(r"\d[\d.]*(?:e-\d)?", helps[name].partition("null")[2])
            assert value in map(float, (number.rstrip(".") for number in numbers)), (name, method)


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
