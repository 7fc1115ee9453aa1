"""The command line of ``valueeval train``: YAML files, flags, or both.

Flags win over a file, wherever ``--config`` stands; of several files the later one.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from valueeval.train.config import renamed
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.optimisation import Optimisation
from valueeval.train.options import GROUPS, Option, all_options, configure, near

_CONFIG, _PRINT = "--config", "--print_config"
# Folders, in which a person may write ~ for the home directory.
_FOLDERS = ("output", "base", "data_dir")
_ANYWHERE = "OUTPUT"
_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")
_TYPES = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text (in quotes, if it looks like a number)",
    "<class 'tuple'>": "one or two texts, as in ['{premise}', '{conclusion}']",
}
_EXAMPLES = """examples:
  valueeval train --output runs/minilm
  valueeval train --method lora --base FacebookAI/roberta-base --output runs/roberta-lora
  valueeval train --template bca --method lora --base Qwen/Qwen2.5-0.5B --output runs/qwen
  valueeval train --config runs.yaml --seed 1 --output runs/seed1 --resume

--help_all shows every option, each with the source of its default.
Options of several words can be written with dashes or underscores."""


def parse_config(argv: Sequence[str]) -> TrainConfig:
    """Return the configuration that a command line, and the YAML files that it names, asks for.

    With ``--print_config`` it is printed and the program ends, likewise with ``--help``.

    Raises:
        ConfigError: An unknown option, or a value of the wrong type or out of range; or a file that
            cannot be read.
    """
    words = _normalised(argv)
    if {"-h", "--help", "--help_all"} & set(words):
        build_parser(everything="--help_all" in words).print_help()
        raise SystemExit(0)
    files, words = _split(words)
    printing = _PRINT in words
    words = [word for word in words if word != _PRINT]
    given: dict[str, Any] = {"output": _ANYWHERE} if printing else {}
    for file in files:
        given |= _read(file)
    given |= _parsed(_parser(), words)
    if "output" not in given:
        raise ConfigError("required: output, the adapter directory to write (--output DIR)")
    config = configure(**_expanded(given))
    if printing:
        _print(config)
        raise SystemExit(0)
    return config


def config_of(options: Mapping[str, Any], output: str) -> TrainConfig:
    """Return the configuration that options ask for as they stand in a YAML file.

    Args:
        options: Options by name, as ``--config`` reads them.
        output: The adapter directory to write.

    Raises:
        ConfigError: An unknown option, a value of the wrong type or out of range, or options that
            do not go together.
    """
    return configure(**_expanded(_checked(options) | {"output": output}))


@cache
def _parser() -> jsonargparse.ArgumentParser:
    return build_parser()


def build_parser(*, everything: bool = True) -> jsonargparse.ArgumentParser:
    """Return the parser of ``valueeval train``.

    Args:
        everything: Show every option in its help, or the basic ones alone.
    """
    parser = jsonargparse.ArgumentParser(
        prog="valueeval train",
        usage="valueeval train --output DIR [OPTION VALUE …]",
        description="Train a model to find the 20 values behind arguments, and write it as an "
        "adapter directory.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        add_help=False,
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for name, option in all_options().items():
        shown = option.help if everything else _short(option.help)
        if option.default not in (..., None):
            shown += f" (default: {option.default})"
        groups[option.group].add_argument(
            f"--{name}",
            type=option.type,
            default=argparse.SUPPRESS,
            help=shown if everything or option.basic else argparse.SUPPRESS,
            metavar=_metavar(option),
        )
    files = parser.add_argument_group("files")
    for name, metavar, text in (
        (_CONFIG, "FILE", "YAML file with any of these options; flags win over it"),
        (_PRINT, "", "print the configuration as such a file, and train nothing"),
        ("--help", "", "show the basic options"),
        ("--help_all", "", "show every option"),
    ):
        files.add_argument(name, help=text, default=argparse.SUPPRESS, metavar=metavar)
    return parser


def _parsed(parser: jsonargparse.ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(parser.parse_args(list(words)).as_dict())
    except jsonargparse.ArgumentError as error:
        raise ConfigError(_readable(str(error))) from error


def _expanded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with ~ in the names of folders replaced, and lists as tuples."""
    values = dict(given)
    if values.get("segments") is not None:
        values["segments"] = tuple(values["segments"])
    for name in _FOLDERS:
        if values.get(name) is not None:
            values[name] = os.path.expanduser(values[name])
    for name in ("teacher", "data"):
        if values.get(name) is not None:
            values[name] = "+".join(map(os.path.expanduser, values[name].split("+")))
    return values


def _print(config: TrainConfig) -> None:
    """Print a file that `parse_config` reads; what depends on the base model stays open."""
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config.options().items()
        if value is not None and (name, value) != ("output", _ANYWHERE)
    }
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


def _split(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the configuration files that are named, and all other words."""
    files, others = [], []
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if name != _CONFIG:
            others.append(word)
            continue
        file = value if equals else next(remaining, "")
        if not file:
            raise ConfigError(f"{_CONFIG}: name a YAML file")
        files.append(Path(os.path.expanduser(file)))
    return files, others


def _read(file: Path) -> dict[str, Any]:
    """Return the options in a file, by their names with underscores.

    Raises:
        ConfigError: It cannot be read, or an option in it is unknown or of the wrong type.
    """
    try:
        content = jsonargparse.get_loader("yaml")(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ConfigError(f"{_CONFIG} {file}: cannot be read as YAML in UTF-8: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{_CONFIG} {file}: allowed: lines of `option: value`")
    try:
        return _checked(content)
    except ConfigError as error:
        raise ConfigError(f"{_CONFIG} {file}: {error}") from error


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file, by their names with underscores; those left open not.

    Raises:
        ConfigError: One is unknown, given twice or of the wrong type.
    """
    options: dict[str, Any] = {}
    for key, value in content.items():
        name, value = _current(str(key).replace("-", "_"), value)
        if name not in all_options():
            raise ConfigError(f"no option {name}{near(name, '')}")
        if name in options:
            raise ConfigError(f"option {name} is given twice")
        if value is None:
            default = all_options()[name].default
            if default not in (..., None) and name in {f.name for f in fields(TrainConfig)} | {
                f.name for f in fields(Optimisation)
            }:
                raise ConfigError(f"{name}: null; leave it out for its default, {default}")
            continue  # left open
        options[name] = value
    try:
        _parser().parse_object(options)
    except jsonargparse.ArgumentError as error:
        raise ConfigError(_readable(str(error))) from error
    return options


def _current(name: str, value: Any) -> tuple[str, Any]:
    """Return an option by its present name and value, noting the change."""
    now = renamed.NAMES.get(name, name)
    known = value if isinstance(value, str) else None
    replaced = renamed.VALUES.get((now, known), value) if known is not None else value
    if (now, replaced) != (name, value):
        new = now if now != name else replaced
        old = name if now != name else value
        print(f"note: {old} is now called {new}", file=sys.stderr)
    return now, replaced


def _normalised(argv: Sequence[str]) -> list[str]:
    """``--batch-size=8`` as ``--batch_size=8``, and a bare ``--resume`` as ``--resume=true``."""
    switches = {name for name, option in all_options().items() if option.type is bool}
    words: list[str] = []
    remaining = list(argv)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name in switches:
            said = remaining[0].lower() if remaining else ""
            if not equals:
                value = remaining.pop(0) if said in (*_YES, *_NO) else "true"
            known = {**dict.fromkeys(_YES, "true"), **dict.fromkeys(_NO, "false")}
            equals, value = "=", known.get(value.lower(), value)
        if name in renamed.NAMES or (name, value) in renamed.VALUES:
            name, value = _current(name, value)
        elif name == "thresholds" and not equals and remaining:
            equals, value = "=", _current(name, remaining.pop(0))[1]
        words.append(f"--{name}{equals}{value}")
    return words


def _readable(message: str) -> str:
    """Return jsonargparse's message in the form of ours: option, value, what is allowed."""
    message = re.sub(r"\s+", " ", message).strip()
    # An option that can be left open (null): its type is a union.
    message = re.sub(
        r"Does not validate .*? Errors: - (Expected .+?)(?:\. Got value: .*?)? - Expected .*"
        r"Given value:",
        r"\1. Got value:",
        message,
    )
    if wrong := re.match(
        r'Parser key "([\w.]+)": Expected (?:an? )?(.+?)\. Got value: (.*)', message
    ):
        name, expected, value = wrong.groups()
        expected = _TYPES.get(expected, expected).removeprefix("typing.Literal")
        if expected not in _TYPES.values():
            expected = expected.strip("[]")
        meant = difflib.get_close_matches(value, re.findall(r"'([^']+)'", expected), n=1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        return f"{name}: {value!r}; allowed: {expected}{hint}"
    if unknown := re.match(r"unrecognized arguments: --([\w.]+)", message):
        return f"no option --{unknown[1]}{near(unknown[1], '--')}"
    return message


def _short(text: str) -> str:
    """Return the first sentence of a help text."""
    return re.split(r"(?<=[.;]) ", text.partition(" Source: ")[0])[0].rstrip(".;")


def _metavar(option: Option) -> str:
    kinds = getattr(option.type, "__args__", ())
    if all(isinstance(kind, str) for kind in kinds) and kinds:
        return "{" + ",".join(kinds) + "}"
    return {int: "N", float: "X", bool: "true|false"}.get(option.type, "TEXT")
