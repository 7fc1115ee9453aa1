"""PEFT's ``adapter_config.json`` of unknown origin: checked before anything is made of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_CONFIG
from valueeval.adapters.directory.typed_json import read_json, shown
from valueeval.tasks.errors import first_line

if TYPE_CHECKING:
    from peft import PeftConfig

_SIZES = (
    *("r", "num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_layers"),
    *("num_attention_heads", "encoder_hidden_size", "encoder_num_layers"),
)
_LARGEST = 2**20
PATTERN_SECONDS = 20.0
"""Time that the regular expressions of a configuration may take on a model's modules."""

# Without a time limit of its own, Python's `re` can take longer than the universe has been there.
_MATCH = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    try:
        matches = re.compile(pattern).fullmatch
    except (re.error, OverflowError, RecursionError) as error:
        sys.exit(f"{pattern[:60]!r} is no regular expression ({error})")
    for name in names:
        matches(name)
"""


def read_peft_config(folder: Path) -> PeftConfig:
    """Return the configuration of the PEFT adapter in a folder.

    Raises:
        ManifestError: There is none, PEFT cannot read it, or a number in it makes no sense; the
            message is one line and names the field.
    """
    from peft import PeftConfig, PeftType

    path = folder / PEFT_CONFIG
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing") from None
    if not isinstance(content, Mapping):
        raise ManifestError(f"{path}: not an object")
    if (method := content.get("peft_type")) not in list(PeftType):
        raise ManifestError(f"{path}: peft_type: {shown(method)} is no method that PEFT knows")
    for field, value in _sizes(content):
        if type(value) is not int or not 0 < value <= _LARGEST:
            raise ManifestError(f"{path}: {field}: {shown(value)}; allowed: 1 to {_LARGEST}")
    for field, value in _scales(content):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
            raise ManifestError(f"{path}: {field}: {shown(value)}; allowed: a number above 0")
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # of whatever kind a class raises that is given other fields
        raise ManifestError(f"{path}: PEFT cannot read it ({first_line(error)})") from error
    return config


def check_patterns(config: Any, modules: Iterable[str], path: Path) -> None:
    """Refuse regular expressions that would not be done with a model's modules.

    Args:
        config: The configuration of an adapter.
        modules: Names of the base model's modules.
        path: File of the configuration, for the message.

    Raises:
        ManifestError: They take more than `PATTERN_SECONDS`, or one is no regular expression.
    """
    # A plain name is also a pattern, and matches at once: only others are timed.
    patterns = {
        pattern: whole
        for pattern, whole in _patterns(config)
        if not re.fullmatch(r"[\w.-]*", pattern)
    }
    if not patterns:
        return
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter, with a program of ours)
            [sys.executable, "-I", "-c", _MATCH],
            input=json.dumps([[*patterns.values()], [*modules]]),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=PATTERN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ManifestError(
            f"{path}: matching {', '.join(map(shown, patterns))} with the names of the model's "
            f"modules takes more than {PATTERN_SECONDS:.0f} s: list the names of the modules"
        ) from None
    if done.returncode:
        raise ManifestError(f"{path}: {done.stderr.strip().splitlines()[-1]}")


def _sizes(content: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    for field in _SIZES:
        # OFT has no rank where it has a block size.
        has_none = field == "r" and content["peft_type"] != "LORA" and content.get("r") == 0
        if content.get(field) is not None and not has_none:
            yield field, content[field]
    yield from _numbers_in(content, "rank_pattern")


def _scales(content: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    if content.get("lora_alpha") is not None:
        yield "lora_alpha", content["lora_alpha"]
    yield from _numbers_in(content, "alpha_pattern")


def _numbers_in(content: Mapping[str, Any], field: str) -> Iterable[tuple[str, object]]:
    """Yield the numbers of a dictionary by module; AdaLoRA has lists there."""
    entries = content.get(field)
    for name, value in entries.items() if isinstance(entries, Mapping) else ():
        if not isinstance(value, list):
            yield f"{field}.{name[:40]}", value


def _patterns(config: Any) -> list[tuple[str, str]]:
    """Return the regular expressions in a configuration, and each as PEFT puts it together."""
    found = []
    for field in ("target_modules", "exclude_modules"):
        if isinstance(value := getattr(config, field, None), str):
            found.append((value, value))
    for pattern in getattr(config, "modules_to_save", None) or ():
        found.append((pattern, rf"(^|.*\.){pattern}($|\..*)"))
    layers = getattr(config, "layers_pattern", None) or ()
    for pattern in [layers] if isinstance(layers, str) else layers:
        found.append((pattern, rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\..*"))
    for field in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, field, None) or ():
            found.append((pattern, rf"(.*\.)?({pattern})$"))
    return [(str(pattern), whole) for pattern, whole in found]
