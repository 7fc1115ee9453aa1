"""The five adapters of the protocol ``cv`` as one: each fold has the member that has not seen it.

What the folds are is in `valueeval.tasks.data.folds`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from valueeval.adapters.directory.ensemble import Members, member_name, member_of
from valueeval.adapters.directory.manifest import Manifest
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.errors import ValueEvalError

# Settings that the folds of one configuration differ in. A teacher has left out the same fold.
_BY_FOLD = ("fold", "teacher", "teacher_sha256")


def is_cross_validation(members: Members) -> bool:
    """Return True for several adapters of the protocol ``cv``."""
    return len(members.folders) > 1 and members.manifest.data.protocol == CV


def cross_validated(members: Members) -> Members:
    """Return the five adapters of one configuration in the order of their folds.

    Their common manifest is that of one of them (each argument is read by one), with all folds in
    ``data.left_out`` and the members in ``config.cross_validation``. Its thresholds are means,
    which decide nothing: each member's own apply.

    Raises:
        ValueEvalError: They are not one for each fold, or of different configurations.
    """
    pairs = list(zip(members.folders, members.manifests, strict=True))
    of_fold: dict[int, int] = {}
    for place, (folder, manifest) in enumerate(pairs):
        if len(manifest.data.left_out) != 1:
            raise ValueEvalError(f"{folder}: no adapter of a single fold, as --protocol cv trains")
        (fold,) = manifest.data.left_out
        if fold in of_fold:
            raise ValueEvalError(
                f"{_named(members, of_fold[fold], place)}: both are of fold {fold}; protocol cv "
                "needs one adapter for each of its five folds"
            )
        of_fold[fold] = place
    if missing := sorted(set(range(CV_FOLDS)) - of_fold.keys()):
        raise ValueEvalError(
            f"adapter=…+…: fold {' and '.join(map(str, missing))} of protocol cv "
            f"{'is' if len(missing) == 1 else 'are'} missing. Give the adapters of all five folds, "
            "or one alone with --metadata '{\"fold\": K}'"
        )
    order = [of_fold[fold] for fold in range(CV_FOLDS)]
    for place in order[1:]:
        if (name := _difference(pairs[order[0]][1], pairs[place][1])) is not None:
            raise ValueEvalError(
                f"{_named(members, order[0], place)}: {name} differs; the five folds of protocol "
                "cv must be of one configuration"
            )
    folders = tuple(members.folders[place] for place in order)
    manifests = tuple(members.manifests[place] for place in order)
    return Members(folders, manifests, _common(members.manifest, folders, manifests))


def _named(members: Members, *places: int) -> str:
    return " and ".join(str(members.folders[place]) for place in places)


def _difference(one: Manifest, other: Manifest) -> str | None:
    """Return the name of something in which two configurations differ; None if nothing does."""
    mine, theirs = _configuration(one), _configuration(other)
    return next((key for key in (*mine, *theirs) if mine.get(key) != theirs.get(key)), None)


def _configuration(manifest: Manifest) -> dict[str, Any]:
    return {
        "base model": manifest.base_model.sha256,
        "head": manifest.head,
        "method": manifest.method,
        "objective": manifest.objective,
        **_settings(manifest),
    }


def _settings(manifest: Manifest) -> Mapping[str, Any]:
    return {key: value for key, value in manifest.config.items() if key not in _BY_FOLD}


def _common(
    averaged: Manifest, folders: tuple[Any, ...], manifests: tuple[Manifest, ...]
) -> Manifest:
    """Return the manifest of the five, from that of their average."""
    first = manifests[0]
    hashes = "".join(manifest.weights_sha256 for manifest in manifests)
    members = [
        {
            **member_of(member_name(folder), manifest),
            "thresholds": list(manifest.thresholds.values),
        }
        for folder, manifest in zip(folders, manifests, strict=True)
    ]
    return replace(
        averaged,
        method=first.method,
        objective=first.objective,
        parameters=first.parameters,
        seed=first.seed,
        config={**_settings(first), "cross_validation": members},
        weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
    )
