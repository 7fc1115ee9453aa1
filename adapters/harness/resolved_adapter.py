"""Resolve ``--model_args`` to adapter, base model and manifest; each file is read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valueeval.adapters.directory.base import hub_origin, resolve_base
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_CONFIG, local_folder
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, check_manifest
from valueeval.adapters.directory.typed_json import read_json
from valueeval.tasks.errors import ValueEvalError

_LANGUAGE_MODELS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


@dataclass(frozen=True)
class ResolvedAdapter:
    """The adapter, base model and manifest that ``--model_args`` name.

    Attributes:
        is_language_model: Whether the model answers in words; else it is a classifier with a head.
        manifest: Manifest of the ``adapter``, if it answers in words and has one.
        model_args: The arguments to make a language model from: with the base and the adapter that
            ``adapter`` stands for, and folders in place of adapters' names on the hub.
        named_args: The arguments that lm-eval names the results' folder after: likewise, but with
            adapters' names on the hub.
    """

    is_language_model: bool
    manifest: Manifest | None
    model_args: Mapping[str, Any]
    named_args: Mapping[str, Any]

    @classmethod
    def from_args(cls, arguments: Mapping[str, Any]) -> ResolvedAdapter:
        """Resolve ``--model_args``; adapters on the hub are fetched.

        Raises:
            ValueEvalError: The adapter cannot be read, or its base is not named; arguments do not
                go with it.
        """
        name = arguments.get("adapter")
        if not name:
            return cls._without_manifest(arguments)
        folder = local_folder(str(name))
        content = _read_json(folder / MANIFEST_FILE)
        config = _read_json(folder / PEFT_CONFIG)
        named = bool(arguments.get("pretrained") or arguments.get("peft"))
        if not _answers_in_words(content, config, named):
            return cls(False, None, arguments, arguments)
        # The weights' hashes take a while: after what is refused at once.
        stands_for = _language_model_args(folder, content, config)
        _refuse_other_weights(str(name), stands_for, arguments)
        manifest = None if content is None else check_manifest(folder, content)
        given = {**arguments, "adapter": str(folder)}
        return cls._with_base(arguments, given, stands_for, folder, str(name), manifest)

    @classmethod
    def _without_manifest(cls, arguments: Mapping[str, Any]) -> ResolvedAdapter:
        """Resolve arguments without ``adapter``: a manifest's thresholds do not apply."""
        peft, base = arguments.get("peft"), arguments.get("pretrained")
        if not peft or base:
            return cls(bool(base), None, arguments, arguments)
        folder = local_folder(peft, arguments.get("revision"))
        content, config = _read_json(folder / MANIFEST_FILE), _read_json(folder / PEFT_CONFIG)
        stands_for = _language_model_args(folder, content, config)
        given = {**arguments, "peft": str(folder)}
        return cls._with_base(arguments, given, stands_for, folder, peft, None)

    @classmethod
    def _with_base(
        cls,
        arguments: Mapping[str, Any],
        given: Mapping[str, Any],
        stands_for: Mapping[str, Any],
        folder: Path,
        name: str,
        manifest: Manifest | None,
    ) -> ResolvedAdapter:
        """Add what an adapter stands for to the arguments; those given win."""
        if given.get("pretrained") not in (None, stands_for["pretrained"]):
            # The revision is that of the base that is not taken.
            stands_for = {key: value for key, value in stands_for.items() if key != "revision"}
        fetched = hub_origin(folder) is not None
        named = {
            key: name if fetched and value == str(folder) else value
            for key, value in stands_for.items()
        }
        return cls(True, manifest, {**stands_for, **given}, {**named, **arguments})


def _answers_in_words(
    content: object, config: Mapping[str, Any] | None, base_is_named: bool
) -> bool:
    """Return whether an adapter directory holds a language model.

    Args:
        content: What its manifest holds; None if it has none.
        config: What PEFT's configuration holds; None if it has none.
        base_is_named: Whether the arguments name a language model, or a PEFT adapter.
    """
    if content is None:
        return base_is_named or (config or {}).get("task_type") in _LANGUAGE_MODELS
    if not isinstance(content, Mapping):
        return False
    return content.get("head") is None and content.get("template") is not None


def _language_model_args(
    folder: Path, content: object, config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the arguments of ``hf`` that an adapter directory stands for.

    Raises:
        ValueEvalError: The directory does not name its base model.
    """
    if config is None:
        return {"pretrained": str(folder)}  # all weights were trained
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if isinstance(content, Mapping):
        named = content.get("base_model")
        if not isinstance(named, Mapping):
            raise ManifestError(f"{folder / MANIFEST_FILE}: base_model: not an object")
        base, revision = named.get("name") or base, named.get("revision")
    if not base or not isinstance(base, str):
        raise ValueEvalError(
            f"{folder}: {PEFT_CONFIG} does not name its base model: add pretrained=MODEL."
        )
    found = {"pretrained": resolve_base(base), "peft": str(folder)}
    if revision and not Path(found["pretrained"]).is_dir():
        found["revision"] = revision
    return found


def _refuse_other_weights(
    name: str, stands_for: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Refuse arguments that put other weights under an adapter's manifest and thresholds."""
    peft, base = given.get("peft"), given.get("pretrained")
    if peft and "peft" not in stands_for:
        raise ValueEvalError(
            f"--model_args: adapter={name} is a whole model, on which no peft= is put. "
            f"Give one of them: peft={peft},pretrained={name} for the two together"
        )
    if peft and local_folder(peft).resolve() != Path(stands_for["peft"]).resolve():
        raise ValueEvalError(
            f"--model_args: adapter={name} and peft={peft} are two adapters; give one of them"
        )
    if base and "peft" not in stands_for and str(base) not in (name, stands_for["pretrained"]):
        raise ValueEvalError(
            f"--model_args: adapter={name} is a whole model, all of whose weights were trained: "
            f"leave out pretrained={base}, or adapter="
        )


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if there is none.

    Raises:
        ManifestError: It cannot be read, or holds something else.
    """
    if not os.path.exists(path):  # False of a name that is too long for a path
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise ManifestError(f"{path}: not an object")
    return content
