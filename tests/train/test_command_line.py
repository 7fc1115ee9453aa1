"""The options of `valueeval train`: a file, flags, and what is said about wrong ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from valueeval.adapters.directory.input_format import Head
from valueeval.train.command_line import build_parser, parse_config
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.optimisation import Distillation
from valueeval.train.config.renamed import current
from valueeval.train.methods import METHODS
from valueeval.train.methods.prompt_tuning import PromptTuning
from valueeval.train.objectives.bce import Bce
from valueeval.train.objectives.distribution_balanced import DistributionBalanced
from valueeval.train.objectives.focal import Focal
from valueeval.train.options import all_options, changed, configure


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("output: from-file\nepochs: 3\nbatch_size: 4\n", "utf-8")
    config = parse_config(["--config", str(file), "--epochs", "5"])
    rates = config.optimisation
    assert (config.output, rates.epochs, rates.batch_size) == ("from-file", 5, 4)


def test_flags_win_wherever_the_file_stands(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("epochs: 3\nbatch_size: 4\nseed: 1\n", "utf-8")
    second.write_text("batch-size: 8\n", "utf-8")
    words = ["--output=x", "--epochs=5", f"--config={first}", "--config", str(second), "--seed=2"]
    config = parse_config(words)
    rates = config.optimisation
    assert (rates.epochs, rates.batch_size, config.seed) == (5, 8, 2)


def test_a_home_directory_may_be_written_as_in_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "train.yaml"
    file.write_text("output: ~/x\nbase: ~/y\nteacher: ~/a+b+~/c\n", "utf-8")
    config = parse_config(["--config=~/train.yaml", "--data_dir=~/z"])
    assert (config.output, config.base) == (f"{tmp_path}/x", f"{tmp_path}/y")
    assert config.data_dir == f"{tmp_path}/z"
    assert config.distillation is not None
    assert config.distillation.teacher == f"{tmp_path}/a+b+{tmp_path}/c"


def test_dashes_and_underscores_are_one() -> None:
    dashes = parse_config(["--output=x", "--batch-size", "4", "--learning-rate=1e-3"])
    underscores = parse_config(["--output=x", "--batch_size", "4", "--learning_rate=1e-3"])
    assert dashes == underscores
    assert (dashes.optimisation.batch_size, dashes.optimisation.learning_rate) == (4, 0.001)
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
    config = configure("x", epochs=2)
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
    expected = parse_config(["--output=x", *words])
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
            ["--loss=focal", "--pos-weight-power=0"],
            "pos_weight_power: 0.0 has no meaning with --loss focal: leave it out, or take",
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
        (["--tokens-at-once=0"], "max_tokens_per_microbatch: 0; allowed: 1 or more"),
        (["--method=heads"], "method: 'heads'; allowed: 'full', 'head'"),
        (["--method=lorra"], "'prompt+full'; did you mean lora?"),
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
        (["--segments=[1]"], "segments: '1'; allowed: text (in quotes, if it looks like"),
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
    config = parse_config(["--output=x", "--method=prompt-tuning", f"--init={init}"])
    assert config.method == PromptTuning(init=init)


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
        (b"batch-size: 3\nbatch_size: 4\n", "option batch_size is given twice"),
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
    assert parse_config(["--output=x", f"--config={tmp_path}/empty.yaml"]) == configure("x")


def helps() -> dict[str, str]:
    """Return every option's help text by its name."""
    return {action.dest: " ".join(str(action.help).split()) for action in build_parser()._actions}


def test_every_option_has_help() -> None:
    assert all(helps().values())
    assert helps().keys() >= all_options().keys()
    assert "(default: 32)" in helps()["batch_size"]


# Options that choose nothing about the result, or that have no default but what is asked for.
WITHOUT_SOURCE = {
    *("output", "revision", "data_dir", "fold", "teacher", "log_with"),
    *("resume", "push_to_hub", "hub_private"),
}


def test_every_option_names_its_default_and_its_source() -> None:
    """In its own words where it depends on something else, else as the parser adds it."""
    for name, option in all_options().items():
        text = helps()[name]
        if name not in WITHOUT_SOURCE:
            assert "Source: " in text, name
        if option.default is None:
            assert re.search(r"\bnull\b", text), name
        elif option.default is not ...:
            assert f"(default: {option.default})" in text, name
        elif name != "output":
            assert re.search(r"\bDefault: |\bnull\b", text), name


def test_help_names_the_defaults_that_methods_have() -> None:
    for method, kind in METHODS.items():
        for name in ("epochs", "learning_rate", "layer_decay"):
            if (value := getattr(kind, name)) is not None:
                said = helps()[name].partition("Default: ")[2].partition(". Source")[0]
                assert re.search(
                    rf"\b{re.escape(f'{value:g}')} for [^,]*\b{re.escape(method)}", said
                )


def test_the_short_help_fits_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_config(["--help"])
    assert caught.value.code == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 75
    assert "--method" in short
    assert "--contrastive_queue" not in short
    with pytest.raises(SystemExit):
        parse_config(["--help_all"])
    assert "--contrastive_queue" in capsys.readouterr().out


def test_what_is_left_open_depends_on_other_options() -> None:
    assert configure("x").loss == Bce(0.5)
    assert configure("x", pos_weight_power=0.0).loss == Bce(0.0)
    assert configure("x", loss="focal").loss == Focal(2.0)
    assert configure("x", loss="distribution-balanced").loss == DistributionBalanced(0.0)
    assert configure("x").distillation is None
    assert configure("x", teacher="a").distillation == Distillation("a", 0.5)
    plain, multiple = configure("x").classifier, configure("x", heads="multiple").classifier
    assert plain is not None
    assert plain.head == Head("linear", "mean")
    assert multiple is not None
    assert multiple.head == Head("multiple", "attention")


def test_what_is_left_open_depends_on_the_method() -> None:
    full = configure("x").optimisation
    assert (full.epochs, full.learning_rate, full.layer_decay) == (5, 2e-4, 0.9)
    head = configure("x", method="head", epochs=3).optimisation
    assert (head.epochs, head.learning_rate, head.layer_decay) == (3, 1e-3, None)


def test_recipe_is_what_the_result_depends_on() -> None:
    one = configure("a", data_dir="b", resume=True, checkpoint_seconds=1.0)
    assert one.recipe() == configure("c").recipe()
    assert one.recipe() != configure("a", seed=1).recipe()
    assert (
        configure("a", lora_rank=8, method="lora").recipe()
        == configure("a", method="lora").recipe()
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"method": "lora", "lora_rank": 4, "epochs": 10},
        {"template": "bca", "method": "p-tuning", "prompt_hidden_size": 8, "paraphrase": 2},
        {"heads": "cross-encoder", "values_per_step": 4, "segments": ("{value.name}", "{premise}")},
        {"contrastive": "joint", "contrastive_weight": 0.5, "teacher": "a+b"},
    ],
)
def test_what_was_given_asks_for_the_same(given: dict[str, Any]) -> None:
    config = configure("x", **given)
    assert configure(**config.non_defaults()) == config
    assert configure(**config.options()) == config
    assert set(config.non_defaults()) <= {"output", *given}
    assert changed(config, seed=3).non_defaults() == {**config.non_defaults(), "seed": 3}


def test_another_method_has_its_own_defaults() -> None:
    config = changed(configure("x", method="head"), method="lora")
    assert config == configure("x", method="lora")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("positive_weight: 0.25", "pos_weight_power: 0.25"),
        ("tokens_at_once: 64", "max_tokens_per_microbatch: 64"),
        ("per_value: 5", "shots_per_value: 5"),
        ("warmup: 0.2", "warmup_ratio: 0.2"),
        ("thresholds: halfway", "thresholds: shrunk"),
        ("lora_rank: null", "seed: 0"),
    ],
)
def test_options_of_earlier_versions_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    (tmp_path / "old.yaml").write_text(f"output: x\n{old}\n", "utf-8")
    (tmp_path / "new.yaml").write_text(f"output: x\n{new}\n", "utf-8")
    expected = parse_config([f"--config={tmp_path}/new.yaml"])
    assert capsys.readouterr().err == ""
    assert parse_config([f"--config={tmp_path}/old.yaml"]) == expected
    if "null" not in old:
        assert "is now called" in capsys.readouterr().err
        name, value = old.split(": ")
        assert parse_config(["--output=x", f"--{name}={value}"]) == expected
        assert parse_config(["--output=x", f"--{name}", value]) == expected


def test_recipes_of_earlier_versions_are_compared_by_todays_names() -> None:
    recipe = {"positive_weight": 0.5, "thresholds": "halfway", "lora_rank": None, "warmup": 0.1}
    assert current(recipe) == {"pos_weight_power": 0.5, "thresholds": "shrunk", "warmup_ratio": 0.1}
