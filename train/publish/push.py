"""``--push_to_hub``: uploads a finished adapter to the Hugging Face hub.

All of huggingface_hub's own making: where it finds a token (`hf auth login`, ``HF_TOKEN``), how it
moves large files, which hub it talks to (``HF_ENDPOINT``). The token stays there; nothing here asks
for its text.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from valueeval.adapters.directory.hub import PEFT_CONFIG, reason
from valueeval.adapters.directory.manifest_file import CARD_FILE, MANIFEST_FILE
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.train.config.config import TrainConfig
from valueeval.train.publish.model_card import NAME
from valueeval.train.runtime.progress import note

# What loaders look for first: that of an older adapter must not stay behind.
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json", "*.bin", "config.json", PEFT_CONFIG]


def check_push(config: TrainConfig) -> None:
    """Refuses at once, before hours of training, what could not be pushed after them.

    Raises:
        ValueEvalError: There is no token, or the hub may not be asked.
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
    """Uploads the adapter in the output directory, if the configuration says where to.

    Raises:
        ValueEvalError: It could not be uploaded; says how to do so later.
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
            f"When that is put right: {later}"
        ) from error
    note(f"pushed to {url}")


def upload(folder: Path, repo: str, private: bool) -> str:
    """Makes a model on the hub hold what an adapter directory holds, in place of an older adapter.

    Its model card is left alone if it describes this adapter already: somebody may have edited it.

    Returns:
        The address of its page.

    Raises:
        ValueEvalError: It holds another model, which is no adapter of ours.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    # None: what the organisation's settings say.
    url = api.create_repo(repo, private=private or None, exist_ok=True)
    there = api.list_repo_files(repo)
    ours = MANIFEST_FILE in there
    if not ours and any(fnmatch(name, pattern) for name in there for pattern in _WEIGHTS):
        raise ValueEvalError("another model is there, and no adapter of ours: choose another name")
    same = ours and _manifest_there(repo) == (folder / MANIFEST_FILE).read_bytes()
    with suppress(OSError):  # a directory that nobody may write to keeps its card as it is
        _name_in_card(folder, repo)
    api.upload_folder(
        repo_id=repo,
        folder_path=folder,
        commit_message="Upload adapter trained by valueeval",
        ignore_patterns=[CARD_FILE] if same and CARD_FILE in there else None,
        delete_patterns=_WEIGHTS,
    )
    return str(url)


def command(config: TrainConfig) -> str:
    """The command line that asks for a configuration."""
    words = []
    for name, value in config.given().items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"--{name}={text}")
    return shlex.join(["valueeval", "train", *words])


def _manifest_there(repo: str) -> bytes:
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory() as folder:
        return Path(hf_hub_download(repo, MANIFEST_FILE, local_dir=folder)).read_bytes()


def _name_in_card(folder: Path, repo: str) -> None:
    card = folder / CARD_FILE
    if card.is_file() and NAME in (text := card.read_text("utf-8")):
        with replacing(card) as temporary:
            temporary.write_text(text.replace(NAME, repo), "utf-8")
