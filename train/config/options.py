"""The options of `valueeval train` as a person gives them: YAML files, flags, or both.

Flags win over a file, wherever ``--config`` stands; of several files the later one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from valueeval.train.config.combinations import ConfigError
from valueeval.train.config.config import TrainConfig

_CONFIG, _PRINT = "--config", "--print_config"
_DEFAULTS = {field.name: field.default for field in fields(TrainConfig)}
_SWITCHES = {field.name for field in fields(TrainConfig) if field.type == "bool"}
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


def build_parser() -> jsonargparse.ArgumentParser:
    """The parser of `valueeval train`: an option for each field of `TrainConfig`."""
    parser = jsonargparse.ArgumentParser(
        prog="valueeval train",
        description="Trains a classifier of the 20 values and writes it as an adapter directory. "
        "Options of several words can be written with dashes or underscores.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        _CONFIG, action="config", help="YAML file with any of these options; flags win over it."
    )
    parser.add_class_arguments(TrainConfig, as_group=False)
    return parser


def parse_config(argv: Sequence[str]) -> TrainConfig:
    """The configuration that the command line (and the YAML files that it names) asks for.

    With ``--print_config`` it is printed, open options filled in, and the program ends.

    Raises:
        ConfigError: An unknown option, or a value of the wrong type or out of range; or a file that
            cannot be read.
    """
    parser = build_parser()
    files, words = _split(_normalised(argv))
    printing = _PRINT in words
    if printing:
        words = [f"--output={_ANYWHERE}", *(word for word in words if word != _PRINT)]
    contents = [_read(file, parser) for file in files]
    # Files first, so that what stands in flags comes later and wins.
    texts = [f"{_CONFIG}={yaml.safe_dump(content)}" for content in contents]
    if printing:
        texts, words = [words[0], *texts], words[1:]
    config = _to_config(_parsed(parser, [*texts, *words]))
    if printing:
        _print(config)
        raise SystemExit(0)
    return config


def _parsed(parser: jsonargparse.ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(parser.parse_args(list(words)).as_dict())
    except jsonargparse.ArgumentError as error:
        raise ConfigError(_readable(str(error))) from error


def _to_config(values: dict[str, Any]) -> TrainConfig:
    values.pop("config", None)
    if values["segments"] is not None:
        values["segments"] = tuple(values["segments"])
    for name in _FOLDERS:
        if values[name] is not None:
            values[name] = os.path.expanduser(values[name])
    if values["teacher"] is not None:
        values["teacher"] = "+".join(map(os.path.expanduser, values["teacher"].split("+")))
    return TrainConfig(**values)


def _print(config: TrainConfig) -> None:
    """As a file that `parse_config` reads; what depends on the base model stays open (null)."""
    values = asdict(config.with_defaults())
    if values["segments"] is not None:
        values["segments"] = list(values["segments"])
    if config.output == _ANYWHERE:
        del values["output"]
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


def _split(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The configuration files that are named, and all other words."""
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


def _read(file: Path, parser: jsonargparse.ArgumentParser) -> dict[str, Any]:
    """The options in a file, by their names with underscores.

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
    options: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in _DEFAULTS:
            raise ConfigError(f"{_CONFIG} {file}: no option {name}{_near(name, '')}")
        if name in options:
            raise ConfigError(f"{_CONFIG} {file}: option {name} is there twice")
        if value is None and _DEFAULTS[name] is not None:
            raise ConfigError(
                f"{_CONFIG} {file}: {name}: null; leave it out for its default, {_DEFAULTS[name]}"
            )
        options[name] = value
    try:
        parser.parse_object({"output": _ANYWHERE, **options})
    except jsonargparse.ArgumentError as error:
        raise ConfigError(f"{_CONFIG} {file}: {_readable(str(error))}") from error
    return options


def _normalised(argv: Sequence[str]) -> list[str]:
    """``--batch-size=8`` as ``--batch_size=8``, and a bare ``--resume`` as ``--resume=true``."""
    words: list[str] = []
    remaining = list(argv)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name in _SWITCHES:
            said = remaining[0].lower() if remaining else ""
            if not equals:
                value = remaining.pop(0) if said in (*_YES, *_NO) else "true"
            known = {**dict.fromkeys(_YES, "true"), **dict.fromkeys(_NO, "false")}
            equals, value = "=", known.get(value.lower(), value)
        words.append(f"--{name}{equals}{value}")
    return words


def _readable(message: str) -> str:
    """Jsonargparse's message in the form of ours: option, value, what is allowed."""
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
        return f"{name}: {value!r}; allowed: {expected}"
    if unknown := re.match(r"unrecognized arguments: --([\w.]+)", message):
        return f"no option --{unknown[1]}{_near(unknown[1], '--')}"
    return message


def _near(name: str, dashes: str) -> str:
    near = difflib.get_close_matches(name, _DEFAULTS, n=2)
    if not near:
        return "; see --help"
    return f"; did you mean {dashes}{f' or {dashes}'.join(near)}?"
