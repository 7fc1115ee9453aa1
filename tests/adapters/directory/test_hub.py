"""Adapters named as on the hub, fetched from one of our own on this machine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_hub
import lm_eval
import numpy as np
import pytest
import torch
from fake_hub import FakeHub
from language_models import scoring_requests, task_manager, write_lively, write_peft
from tiny_adapters import make_manifest, write_adapter

from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.ensemble import adapter_name, read_adapter
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import HubId, hub_id, local_folder
from valueeval.adapters.directory.manifest import BaseModel
from valueeval.adapters.directory.manifest_file import (
    CARD_FILE,
    describe_files,
    read_manifest,
    write_manifest,
)
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.predict import cli as cli_predict
from valueeval.registration import register
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
ARGUMENTS = load_set("sample").arguments[:5]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    return [write_adapter(runs / name, tiny_bert, seed) for seed, name in enumerate("ab")]


def downloads(hub: FakeHub) -> list[str]:
    return [line.rpartition("/")[2] for line in hub.asked if re.match("GET .*/resolve/", line)]


# ---------------------------------------------------------------------------------- what a name is


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/name", HubId("org/name", None)),
        ("org/name@v1.0", HubId("org/name", "v1.0")),
        ("org/name@refs/pr/1", HubId("org/name", "refs/pr/1")),
        ("Org-1/na.me_2", HubId("Org-1/na.me_2", None)),
    ],
)
def test_names(name: str, expected: HubId) -> None:
    assert hub_id(name) == expected


OTHER_NAMES = [
    "", "/", "name", "name@v1", "org/", "org/name/", "org/name@", "/org/name", "~/name", "./name",
    "../name", "a/b/c", "a b/c", "org/na--me", "org/-name", "org/x.git", "org/a+org/b", "org\\name",
]  # fmt: skip


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_no_names(name: str) -> None:
    assert hub_id(name) is None
    assert local_folder(name) == Path(name).expanduser()


def test_a_folder_of_that_name_comes_first(
    hub: FakeHub, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/a", adapters[1])
    monkeypatch.chdir(tmp_path)
    shutil.copytree(adapters[0], "org/a")
    assert read_adapter("org/a").seed == 0
    assert not hub.asked


def test_an_unfinished_run_of_that_name_is_meant(
    hub: FakeHub, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("runs/a", adapters[0])
    monkeypatch.chdir(tmp_path)
    Path("runs/a.training").mkdir(parents=True)
    with pytest.raises(ValueEvalError, match=r"training is unfinished .* --resume"):
        read_adapter("runs/a")
    assert not hub.asked


# ------------------------------------------------------------------------------------- what is read


def test_same_logits_and_nothing_but_what_is_safe(hub: FakeHub, adapters: list[Path]) -> None:
    more = dict.fromkeys(
        ("adapter_model.bin", "modeling_evil.py", "evil.pkl", CARD_FILE, "sub/x.json"), b"no"
    )
    hub.add("org/a", adapters[0], more)
    there = load_adapter("org/a", "cpu")
    here = load_adapter(str(adapters[0]), "cpu")
    assert there.manifest == here.manifest
    assert (there.logits(ARGUMENTS) == here.logits(ARGUMENTS)).all()
    assert set(downloads(hub)) == {path.name for path in adapters[0].iterdir()}


def test_an_edited_card_changes_nothing(hub: FakeHub, adapters: list[Path]) -> None:
    hub.add("org/a", adapters[0], {CARD_FILE: b"mine"})
    assert read_adapter("org/a") == read_manifest(adapters[0])


def test_revisions(hub: FakeHub, adapters: list[Path]) -> None:
    first = hub.add("org/a", adapters[0])
    hub.repos["org/a"].refs["v1"] = first
    hub.add("org/a", adapters[1])
    seeds = {name: read_adapter(f"org/a{name}").seed for name in ("", "@v1", f"@{first}", "@main")}
    assert seeds == {"": 1, "@v1": 0, f"@{first}": 0, "@main": 1}
    with pytest.raises(
        ValueEvalError, match=r"org/a@v2: .* the hub has no such revision of this model"
    ):
        read_adapter("org/a@v2")


def test_members_of_an_average(hub: FakeHub, adapters: list[Path], tmp_path: Path) -> None:
    a, b = (hub.add(f"org/{path.name}", path) for path in adapters)
    average = load_adapter("org/a+org/b@main", "cpu")
    expected = load_adapter("+".join(map(str, adapters)), "cpu")
    assert (average.logits(ARGUMENTS) == expected.logits(ARGUMENTS)).all()
    members = [member["adapter"] for member in average.manifest.config["members"]]
    assert members == [f"org/a@{a}", f"org/b@{b}"]
    assert adapter_name("org/a+org/b") == "org/a+b"
    assert read_adapter(f"{adapters[0]}+org/b").config["members"][1]["adapter"] == f"org/b@{b}"
    with pytest.raises(ValueEvalError, match="given twice"):
        load_adapter("org/a+org/a@main")


def test_labels_a_table_and_asks_for_the_commit_once(
    hub: FakeHub, adapters: list[Path], tmp_path: Path
) -> None:
    """A second answer could be another commit: thresholds of one, weights of the other."""
    hub.add("org/a", adapters[0])
    source = tmp_path / "in.jsonl"
    row = {"premise": "It helps.", "conclusion": "We should try it", "stance": "for"}
    source.write_text(json.dumps(row), "utf-8")
    outputs = []
    for adapter in ("org/a", str(adapters[0])):
        outputs.append(tmp_path / f"{len(outputs)}.jsonl")
        words = [str(source), "--adapter", adapter, "-o", str(outputs[-1]), "--device", "cpu"]
        assert cli_predict.main(words) == 0
    assert outputs[0].read_text("utf-8") == outputs[1].read_text("utf-8")
    assert hub.asked.count("GET /api/models/org/a/revision/main") == 1


def test_as_a_model_of_lm_eval(
    hub: FakeHub, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/a", adapters[0])
    register()
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    results = lm_eval.simple_evaluate(
        model="valueeval",
        model_args=(arguments := {"adapter": "org/a"}),
        tasks=["valueeval_cls_sample"],
        limit=len(ARGUMENTS),
        device="cpu",
        task_manager=task_manager(),
    )
    assert arguments["path"] == "org/a"  # names the folder of the results
    assert results["config"]["valueeval"] == read_manifest(adapters[0]).to_json()
    model = load_adapter(str(adapters[0]), "cpu")
    decided = model.manifest.thresholds.decide(model.logits(ARGUMENTS)).astype(int).tolist()
    for sample in results["samples"]["valueeval_cls_sample"]:
        row = [argument.id for argument in ARGUMENTS].index(sample["doc"]["id"])
        assert sample["macro_f1"]["prediction"] == decided[row]


# ---------------------------------------------------------------------------------- language models


def answers(model: LanguageModelLM) -> list[float]:
    return [score for score, _ in model.loglikelihood(scoring_requests(), disable_tqdm=True)]


def test_adapter_of_a_language_model(hub: FakeHub, tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "lora", tiny_gpt2, "causal", "lora")
    first = hub.add("org/lora", folder)
    hub.add("org/lora", write_peft(tmp_path / "other", tiny_gpt2, "causal", "lora", seed=1))
    other = answers(LanguageModelLM(str(tiny_gpt2), peft="org/lora", device="cpu"))
    expected = answers(LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu"))
    assert not np.allclose(other, expected, atol=0.01)

    arguments: dict[str, Any] = {"adapter": f"org/lora@{first}"}
    model = ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})
    assert isinstance(model, LanguageModelLM)
    assert answers(model) == expected
    assert arguments["peft"] == f"org/lora@{first}"  # names the folder of the results
    assert (
        model.get_model_info()["peft_sha"]
        == describe_files(folder)["adapter_model.safetensors"].sha256
    )
    for given in ({"peft": f"org/lora@{first}"}, {"peft": "org/lora", "revision": first}):
        assert answers(LanguageModelLM(str(tiny_gpt2), device="cpu", **given)) == expected


def test_thresholds_of_a_template_come_along(hub: FakeHub, tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "lora", tiny_gpt2, "causal", "lora")
    manifest = make_manifest(
        describe_files(folder),
        head=None,
        template="bca",
        method="lora",
        base_model=BaseModel(str(tiny_gpt2), None, fetch_base(str(tiny_gpt2)).sha256),
    )
    write_manifest(folder, manifest)
    hub.add("org/lora", folder)
    model = ClassifierLM.create_from_arg_obj({"adapter": "org/lora"}, {"device": "cpu"})
    assert model.get_model_info()["valueeval"] == manifest.to_json()
    direct = LanguageModelLM(str(tiny_gpt2), peft="org/lora", adapter="org/lora", device="cpu")
    assert direct.get_model_info()["valueeval"] == manifest.to_json()


def test_the_base_on_the_hub_is_that_of_then(hub: FakeHub, tiny_gpt2: Path, tmp_path: Path) -> None:
    """Its commit is taken, whatever was pushed since; other weights are refused."""
    then = hub.add("org/base", tiny_gpt2)
    hub.add("org/base", write_lively(tmp_path / "lively", tiny_gpt2, "causal"))
    folder = write_peft(tmp_path / "lora", tiny_gpt2, "causal", "lora")
    base = BaseModel("org/base", then, fetch_base(str(tiny_gpt2)).sha256)
    manifest = make_manifest(
        describe_files(folder), head=None, template="bca", method="lora", base_model=base
    )
    write_manifest(folder, manifest)
    arguments = {"adapter": str(folder)}
    model = ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})
    assert (arguments["pretrained"], arguments["revision"]) == ("org/base", then)
    expected = answers(LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu"))
    assert answers(model) == expected
    for other in ({"revision": "main"}, {"pretrained": "org/base", "revision": "main"}):
        with pytest.raises(ValueEvalError, match=f"'org/base' at revision {then} with weights"):
            ClassifierLM.create_from_arg_obj({"adapter": str(folder), **other}, {"device": "cpu"})
    # Another name for the same weights will do.
    renamed = {"adapter": str(folder), "pretrained": str(tiny_gpt2)}
    assert answers(ClassifierLM.create_from_arg_obj(renamed, {"device": "cpu"})) == expected


def test_a_model_of_which_all_weights_were_trained(
    hub: FakeHub, tiny_gpt2: Path, tmp_path: Path
) -> None:
    """No PEFT there and a manifest with a template: the folder in the cache is the model itself."""
    from valueeval.adapters.harness.resolved_adapter import ResolvedAdapter

    folder = tmp_path / "full"
    shutil.copytree(tiny_gpt2, folder)
    write_manifest(folder, make_manifest(describe_files(folder), head=None, template="bca"))
    hub.add("org/full", folder)
    arguments: dict[str, Any] = {"adapter": "org/full"}
    resolved = ResolvedAdapter.from_args(arguments)
    given = resolved.model_args
    assert given["pretrained"] == given["adapter"] == str(local_folder("org/full"))
    assert resolved.named_args == {"adapter": "org/full", "pretrained": "org/full"}
    assert arguments == {"adapter": "org/full"}


def test_pickled_weights_are_refused_and_can_be_converted(tiny_gpt2: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = write_peft(tmp_path / "my adapter", tiny_gpt2, "causal", "lora")
    expected = answers(LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu"))
    weights = folder / "adapter_model.safetensors"
    torch.save(load_file(weights), folder / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(ValueEvalError, match="is a pickle, which can run code") as caught:
        LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu")
    command = shlex.split(str(caught.value).partition("convert it: ")[2])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert answers(LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu")) == expected


def test_without_any_weights(tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "lora", tiny_gpt2, "causal", "lora")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueEvalError, match=r"adapter_model\.safetensors is missing; copy"):
        LanguageModelLM(str(tiny_gpt2), peft=str(folder), device="cpu")
    with pytest.raises(ValueEvalError, match="no PEFT adapter there"):
        LanguageModelLM(str(tiny_gpt2), peft=str(tmp_path / "none"), device="cpu")


def test_pickled_weights_on_the_hub_are_not_even_fetched(
    hub: FakeHub, tiny_gpt2: Path, tmp_path: Path
) -> None:
    folder = write_peft(tmp_path / "lora", tiny_gpt2, "causal", "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    hub.add("org/old", folder)
    with pytest.raises(ValueEvalError, match=r"a pickle, .*\n.*hf download org/old --revision"):
        ClassifierLM.create_from_arg_obj({"adapter": "org/old"}, {"device": "cpu"})
    assert "adapter_model.bin" not in downloads(hub)


# --------------------------------------------------------------------------------- what goes wrong


def test_neither_here_nor_there(hub: FakeHub) -> None:
    with pytest.raises(ValueEvalError) as caught:
        load_adapter("no/such")
    assert str(caught.value) == (
        "no/such: no such adapter directory here, and the hub has no model of this name, or none "
        "that you may see (for a private one: `hf auth login`, or set HF_TOKEN)"
    )


def test_private_ones_need_the_token(
    hub: FakeHub, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/a", adapters[0])
    hub.repos["org/a"].private = True
    assert read_adapter("org/a").seed == 0
    shutil.rmtree(local_folder("org/a").parents[1])
    for token in ("hf_another", None):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        else:
            monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(ValueEvalError, match=r"none that you may see .* HF_TOKEN"):
            read_adapter("org/a")


def test_a_gated_one_must_be_asked_for(hub: FakeHub, adapters: list[Path]) -> None:
    hub.add("org/a", adapters[0])
    hub.repos["org/a"].gated = True
    with pytest.raises(ValueEvalError, match=r"org/a: .* this model is gated: request access on"):
        read_adapter("org/a")


def test_a_model_that_is_no_adapter_is_not_fetched(hub: FakeHub, tiny_bert: Path) -> None:
    hub.add("org/bert", tiny_bert)
    with pytest.raises(ManifestError, match=r"org/bert: .* neither valueeval\.json nor adapter_c"):
        load_adapter("org/bert")
    assert not downloads(hub)


def test_offline_the_cache_will_do(
    hub: FakeHub, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.add("org/a", adapters[0])
    expected = read_adapter("org/a")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert read_adapter("org/a") == expected
    with pytest.raises(ValueEvalError, match=r"org/b: no such adapter .* HF_HUB_OFFLINE is set"):
        read_adapter("org/b")
    assert not hub.asked


def test_unreachable_the_cache_will_do(
    adapters: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with fake_hub.running() as hub:
        fake_hub.use(monkeypatch, hub.url, tmp_path / "cache")
        hub.add("org/a", adapters[0])
        expected = read_adapter("org/a")
    assert read_adapter("org/a") == expected
    with pytest.raises(ValueEvalError, match=r"org/b: .*the hub failed \(ConnectError: "):
        read_adapter("org/b")


def test_a_download_that_breaks_off_goes_on(hub: FakeHub, adapters: list[Path]) -> None:
    hub.add("org/a", adapters[0])
    hub.cut, hub.cuts = 1000, 3
    assert read_adapter("org/a") == read_manifest(adapters[0])
    assert hub.cuts == 0


def test_a_download_that_never_ends_leaves_nothing_that_is_taken_for_whole(
    hub: FakeHub, adapters: list[Path]
) -> None:
    hub.add("org/a", adapters[0])
    hub.cut, hub.cuts = 0, 10**6
    with pytest.raises(ValueEvalError, match=r"org/a: .* the request to the hub failed \("):
        read_adapter("org/a")
    hub.cuts = 0
    assert read_adapter("org/a") == read_manifest(adapters[0])


def test_what_was_tampered_with_is_refused(hub: FakeHub, adapters: list[Path]) -> None:
    commit = hub.add("org/a", adapters[0])
    content = bytearray(hub.repos["org/a"].files["head.safetensors"])
    content[-1] ^= 1
    hub.repos["org/a"].files["head.safetensors"] = bytes(content)
    with pytest.raises(ManifestError) as caught:
        load_adapter("org/a")
    assert re.search(r"valueeval\.json: head\.safetensors was changed", str(caught.value))
    assert f"This is a copy of org/a@{commit} from the hub: remove" in str(caught.value)


def test_a_damaged_copy_can_be_fetched_again(hub: FakeHub, adapters: list[Path]) -> None:
    hub.add("org/a", adapters[0])
    weights = (local_folder("org/a") / "head.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"truncated or changed") as caught:
        read_adapter("org/a")
    found = re.search(r"remove (.+) to fetch it again", str(caught.value))
    assert found
    shutil.rmtree(found[1])
    assert read_adapter("org/a") == read_manifest(adapters[0])


def test_the_environment_says_which_hub(hub: FakeHub, adapters: list[Path], tmp_path: Path) -> None:
    """A process of its own: here the library is told by other means."""
    hub.add("org/a", adapters[0])
    code = "from valueeval.adapters.directory.hub import local_folder; print(local_folder('org/a'))"
    environment = {
        "PATH": "",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path / "home")
    assert read_manifest(folder) == read_manifest(adapters[0])
