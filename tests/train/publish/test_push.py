"""`valueeval train --push-to-hub`, to a hub of our own on this machine."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import fake_hub
import pytest
from fake_hub import TOKEN, FakeHub
from tiny_adapters import write_adapter
from training import small_config, write_small_data

from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.manifest_file import CARD_FILE, MANIFEST_FILE, read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.cli import main
from valueeval.train.command_line import parse_config
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed, configure
from valueeval.train.publish.push import command, upload
from valueeval.train.run import train
from valueeval.train.runtime import hardware

# huggingface_hub's own, where it sends a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
ARGUMENTS = load_set("sample").arguments[:3]


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    data_dir = write_small_data(tmp_path_factory.mktemp("data"), 24, 16)
    return small_config(Path("set by each test"), tiny_bert, data_dir, epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def trained(recipe: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "adapter"
    train(changed(recipe, output=str(output)))
    return output


@pytest.fixture
def finished(recipe: TrainConfig, trained: Path, tmp_path: Path) -> TrainConfig:
    """Return the command that trained a finished adapter, with two options to push it."""
    folder = shutil.copytree(trained, tmp_path / "adapter")
    return changed(recipe, output=str(folder), resume=True, push_to_hub="org/new")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def named(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    """Return the files with the adapter's name on the hub in their card."""
    return files | {CARD_FILE: files[CARD_FILE].replace(b"ORG/NAME", name.encode())}


# ------------------------------------------------------------------------------------ what is there


def test_trains_and_pushes(
    hub: FakeHub, recipe: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "adapter"
    words = shlex.split(command(changed(recipe, output=str(folder))))[2:]
    assert main([*words, "--push-to-hub", "org/new", "--hub-private"]) == 0
    repo = hub.repos["org/new"]
    assert repo.private
    pushed = {name: content for name, content in repo.files.items() if name != ".gitattributes"}
    assert pushed == named(contents(folder), "org/new")
    assert len(repo.commits) == 2  # one at the making, one for all files
    printed = capfd.readouterr()
    assert f"pushed to {hub.url}/org/new" in printed.err

    assert hub.authorization == {f"Bearer {TOKEN}", None}
    assert TOKEN not in printed.err + printed.out
    assert not any(TOKEN.encode() in content for content in repo.files.values())
    assert not {"push_to_hub", "hub_private"} & read_manifest(folder).config.keys()

    there, here = load_adapter("org/new", "cpu"), load_adapter(str(folder), "cpu")
    assert (there.logits(ARGUMENTS) == here.logits(ARGUMENTS)).all()


def test_a_finished_adapter_is_pushed_as_it_is(
    hub: FakeHub, finished: TrainConfig, trained: Path
) -> None:
    assert train(finished) == read_manifest(trained)
    repo = hub.repos["org/new"]
    assert not repo.private
    pushed = {name: repo.files[name] for name in contents(trained)}
    assert pushed == named(contents(trained), "org/new")
    card = repo.files[CARD_FILE].decode()
    assert "adapter=org/new\n" in card
    assert "ORG/NAME" not in card


def test_a_second_name_is_in_the_card_of_its_own(
    hub: FakeHub, finished: TrainConfig, trained: Path
) -> None:
    for name in ("org/new", "org/second"):
        train(changed(finished, push_to_hub=name))
        assert f"adapter={name}\n".encode() in hub.repos[name].files[CARD_FILE]
    assert contents(Path(finished.output)) == contents(trained)


def test_a_card_edited_there_is_left_alone(hub: FakeHub, finished: TrainConfig) -> None:
    train(finished)
    repo = hub.repos["org/new"]
    repo.commit({**repo.files, CARD_FILE: b"edited", "head.safetensors": b"damaged"})
    train(finished)
    assert repo.files[CARD_FILE] == b"edited"
    assert repo.files["head.safetensors"] == contents(Path(finished.output))["head.safetensors"]


def test_what_is_missing_there_is_added(hub: FakeHub, finished: TrainConfig) -> None:
    """The state after an upload in several commits that broke off in between."""
    train(finished)
    repo = hub.repos["org/new"]
    whole = dict(repo.files)
    repo.commit({MANIFEST_FILE: whole[MANIFEST_FILE]})
    train(finished)
    assert repo.files == {k: v for k, v in whole.items() if k != ".gitattributes"}


def test_another_adapter_takes_the_place_of_an_older_one(
    hub: FakeHub, finished: TrainConfig, trained: Path
) -> None:
    manifest = (trained / MANIFEST_FILE).read_bytes()
    stale = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x", "NOTES.txt": b"mine"}
    of_its_tokenizer = (
        "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
        "special_tokens_map.json", "chat_template.jinja", "bpe.codes", "generation_config.json",
    )  # fmt: skip
    measured = ("int8.json", "test_scores.json")  # of the older one's weights
    stale |= dict.fromkeys((*of_its_tokenizer, *measured), b"x")
    nested = {"checkpoint-5/model.safetensors": b"x", "onnx/config.json": b"{}"}
    more = {**stale, **nested, MANIFEST_FILE: manifest + b"\n", CARD_FILE: b"of the older one"}
    hub.add("org/new", trained, more)
    train(finished)
    files = hub.repos["org/new"].files
    assert files.keys() == {*contents(trained), "NOTES.txt", *nested}
    assert files[MANIFEST_FILE] == manifest
    assert b"adapter=org/new" in files[CARD_FILE]


# --------------------------------------------------------------------------------- what goes wrong


def failure(config: TrainConfig) -> str:
    """Return the message of a failure to push a finished adapter, which is unchanged."""
    folder = Path(config.output)
    before = contents(folder)
    with pytest.raises(ValueEvalError) as caught:
        train(config)
    assert contents(folder) == before
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_says_how_to_push_later(
    hub: FakeHub, finished: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    message = failure(finished)
    assert message.startswith(
        f"{finished.output} is finished, but was not pushed to org/new: the hub does not accept "
        "your token: `hf auth login`, or set HF_TOKEN."
    )
    later = shlex.split(message.partition("When that is fixed: ")[2])
    assert later[:2] == ["valueeval", "train"]
    assert parse_config(later[2:]) == finished
    assert not hub.repos
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(later[2:]) == 0
    assert "org/new" in hub.repos


def test_pushes_later_from_a_machine_that_would_train_in_another_precision(
    hub: FakeHub, finished: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers, hub.writers = hub.writers, ()
    message = failure(changed(finished, push_to_hub="org/new", precision="auto"))
    assert "the hub says that your token does not allow this" in message
    hub.writers = writers
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: True)
    assert main(shlex.split(message.partition("is fixed: ")[2])[2:]) == 0
    assert "org/new" in hub.repos


def test_a_hub_that_cannot_be_reached(
    finished: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with fake_hub.running() as hub:
        url = hub.url
    fake_hub.use(monkeypatch, url, tmp_path / "cache")
    assert "request to the hub failed (ConnectError: " in failure(finished)


def test_an_upload_that_breaks_off_leaves_the_hub_as_it_was(
    hub: FakeHub, finished: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(handler: fake_hub._Handler, oid: str) -> None:
        handler._error(500, "")

    with monkeypatch.context() as patch:
        patch.setattr(fake_hub._Handler, "_put", broken)
        message = failure(finished)
    assert "the request to the hub failed (HfHubHTTPError: " in message
    assert hub.repos["org/new"].files.keys() == {".gitattributes"}
    train(finished)
    assert MANIFEST_FILE in hub.repos["org/new"].files


def test_another_model_of_that_name_is_not_touched(
    hub: FakeHub, finished: TrainConfig, tiny_gpt2: Path
) -> None:
    hub.add("org/new", tiny_gpt2)
    before = dict(hub.repos["org/new"].files)
    assert "another model of this name, not an adapter of ours: choose another name" in failure(
        finished
    )
    assert hub.repos["org/new"].files == before


def test_a_damaged_adapter_is_not_pushed(hub: FakeHub, finished: TrainConfig) -> None:
    weights = Path(finished.output) / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueEvalError, match="truncated or changed"):
        train(finished)
    assert not hub.repos


def test_refused_before_training(
    hub: FakeHub, recipe: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    config = changed(recipe, output=str(tmp_path / "none"), push_to_hub="org/new")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueEvalError, match=r"no token for the hub: `hf auth login`, or set HF_T"):
        train(config)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueEvalError, match=r"HF_HUB_OFFLINE is set\. .* --resume --push_to_hub"):
        train(config)
    assert not list(tmp_path.glob("none*"))
    assert not hub.asked


@pytest.mark.parametrize(
    "name", ["name", "org/name@v1", "org/na me", "../x", "https://x.y/org/name"]
)
def test_refused_names(name: str) -> None:
    with pytest.raises(ConfigError, match=f"push_to_hub: '{re.escape(name)}'; allowed: a name on"):
        configure("x", push_to_hub=name)


def test_options() -> None:
    config = parse_config(["--output=x", "--hub-private", "--push-to-hub=org/name", "--resume"])
    assert (config.push_to_hub, config.hub_private, config.resume) == ("org/name", True, True)
    assert not parse_config(["--output=x", "--hub_private", "false"]).hub_private
    with pytest.raises(ConfigError, match="hub_private: true has no meaning without --push_to_hub"):
        parse_config(["--output=x", "--hub_private"])


def test_the_command_asks_for_the_same() -> None:
    config = configure(
        "my runs/a", method="lora", segments=("{premise}, 'so' {conclusion}",), train_size=5,
        learning_rate=1e-3, resume=True, data_dir="my d", push_to_hub="org/name", hub_private=True,
    )  # fmt: skip
    assert parse_config(shlex.split(command(config))[2:]) == config
    assert command(configure("x")) == "valueeval train --output=x"


def test_base_models_of_this_machine_are_pointed_out(
    hub: FakeHub, finished: TrainConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    train(finished)
    assert "is a folder on this machine: its path is uploaded\n" in capfd.readouterr().err


def test_teachers_of_this_machine_are_pointed_out(
    hub: FakeHub, recipe: TrainConfig, trained: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    student = changed(recipe, output=str(tmp_path / "student"), push_to_hub="org/student")
    train(changed(student, teacher=str(trained)))
    assert f"teacher {trained} is on this machine: its path is uploaded\n" in capfd.readouterr().err
    assert "org/student" in hub.repos


def test_the_tokenizer_of_an_older_adapter_goes(
    hub: FakeHub, trained: Path, tmp_path: Path
) -> None:
    """One of PEFT would be read with it in place of its base's."""
    hub.add("org/a", trained)
    folder = shutil.copytree(trained, tmp_path / "a")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    upload(folder, "org/a", private=False)
    assert hub.repos["org/a"].files.keys() == contents(folder).keys()


def test_uploads_any_adapter_directory(hub: FakeHub, tmp_path: Path, tiny_bert: Path) -> None:
    """One without a model card, too."""
    folder = write_adapter(tmp_path / "a", tiny_bert)
    assert upload(folder, "org/a", private=False) == f"{hub.url}/org/a"
    assert hub.repos["org/a"].files.keys() - {".gitattributes"} == contents(folder).keys()
