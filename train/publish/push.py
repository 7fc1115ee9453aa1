"""Upload a finished adapter to the Hugging Face hub (``--push_to_hub``).

huggingface_hub itself finds the token (`hf auth login`, ``HF_TOKEN``), uploads large files and
chooses the hub (``HF_ENDPOINT``). Nothing here reads the text of the token.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from valueeval.adapters.directory.hub import PEFT_CONFIG
from valueeval.adapters.directory.hub_errors import reason
from valueeval.adapters.directory.manifest_file import CARD_FILE, MANIFEST_FILE
from valueeval.adapters.engines.choose import MEASURED_FILE
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.publish.model_card import NAME
from valueeval.train.publish.release import SCORES_FILE
from valueeval.train.runtime.progress import note

# The files that loaders look for first.
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json", "*.bin", "config.json", PEFT_CONFIG]
# Files of an older adapter that must not stay behind: loaders would read the new one with them, and
# what was measured of the older one would pass for the new one's.
_REPLACED = [
    *_WEIGHTS,
    *("tokenizer*.json", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("*.model", "*.codes", "*.jinja", "generation_config.json", MEASURED_FILE, SCORES_FILE),
]


def check_push(config: TrainConfig) -> None:
    """Check before the training that the adapter can be pushed after it.

    Raises:
        ValueEvalError: There is no token, or the hub is switched off.
    """
    if config.push_to_hub is None:
        return
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ValueEvalError(
            "push_to_hub: HF_HUB_OFFLINE is set. Unset it, or train without --push_to_hub and push "
            "later: the same command with --resume --push_to_hub"
        )
    if get_token() is None:
        raise ValueEvalError(
            "push_to_hub: no token for the hub: `hf auth login`, or set HF_TOKEN (one that may "
            "write)"
        )
    if Path(config.base).is_dir():
        needed = "" if config.method.whole else ", and the adapter works only where it lies there"
        note(f"base model {config.base} is a folder on this machine: its path is uploaded{needed}")
    teacher = "" if config.distillation is None else config.distillation.teacher
    names = [teacher, *teacher.split("+")] if teacher else []
    if any(Path(name).expanduser().is_dir() for name in names):
        note(f"teacher {teacher} is on this machine: its path is uploaded")


def push(config: TrainConfig) -> None:
    """Upload the adapter in the output directory if the configuration names a hub model.

    Raises:
        ValueEvalError: It could not be uploaded; the message says how to do so later.
    """
    if config.push_to_hub is None:
        return
    try:
        url = upload(Path(config.output), config.push_to_hub, config.hub_private)
    except Exception as error:  # whatever it was, the adapter is here and can be pushed later
        why = str(error) if isinstance(error, ValueEvalError) else reason(error)
        later = command(replace(config, resume=True))
        raise ValueEvalError(
            f"{config.output} is finished, but was not pushed to {config.push_to_hub}: {why}.\n"
            f"When that is fixed: {later}"
        ) from error
    note(f"pushed to {url}")


def upload(folder: Path, repo: str, private: bool) -> str:
    """Upload an adapter directory to a model on the hub, replacing an older adapter.

    A model card there that describes this adapter already stays: somebody may have edited it.

    Returns:
        The address of its page.

    Raises:
        ValueEvalError: The hub has another model of this name, which is no adapter of ours.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    # None leaves the choice to the organisation's settings.
    url = api.create_repo(repo, private=private or None, exist_ok=True)
    there = api.list_repo_files(repo)
    ours = MANIFEST_FILE in there
    if not ours and any(fnmatch(name, pattern) for name in there for pattern in _WEIGHTS):
        raise ValueEvalError(
            "the hub has another model of this name, not an adapter of ours: choose another name"
        )
    same = ours and _manifest_there(repo) == (folder / MANIFEST_FILE).read_bytes()
    files = _files_for(repo, folder)
    stale = [name for name in there if name not in files and _is_replaced(name)]
    if same and CARD_FILE in there:
        files.pop(CARD_FILE, None)
    api.create_commit(
        repo_id=repo,
        operations=[
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *(CommitOperationDelete(name) for name in stale),
        ],
        commit_message="Upload adapter trained by valueeval",
    )
    return str(url)


def command(config: TrainConfig) -> str:
    """Return the command line of a configuration."""
    words = []
    for name, value in config.non_defaults().items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"--{name}={text}")
    return shlex.join(["valueeval", "train", *words])


def _manifest_there(repo: str) -> bytes:
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory() as folder:
        return Path(hf_hub_download(repo, MANIFEST_FILE, local_dir=folder)).read_bytes()


def _files_for(repo: str, folder: Path) -> dict[str, Path | bytes]:
    """Return what to upload by name: the files of the folder, and the card with the hub's name.

    The card in the folder stays as it is, for other names.
    """
    files: dict[str, Path | bytes] = {
        path.name: path for path in sorted(folder.iterdir()) if path.is_file()
    }
    if CARD_FILE in files:
        card = (folder / CARD_FILE).read_bytes()
        files[CARD_FILE] = card.replace(NAME.encode(), repo.encode())
    return files


def _is_replaced(name: str) -> bool:
    # Adapters have no sub-folders; "*" would match the "/" of what others keep in one.
    return "/" not in name and any(fnmatch(name, pattern) for pattern in _REPLACED)
