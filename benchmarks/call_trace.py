"""Which files one evaluation and one training walk through: calls between files, work done twice.

    python benchmarks/call_trace.py [--json]

A tiny random language model is trained with ``--template bca`` on the sample set, then evaluated on
``valueeval_bca_sample``. Of both are shown: the files of the package that are entered, the pairs of
files of which one calls the other (also through libraries, checks of a new value by its class
aside), the pairs that call each other, how
often a request is encoded, and how often ``valueeval.json`` is read. Runs with any version of the
package.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

_PACKAGES = ("valueeval", "valueeval.tasks", "valueeval.adapters", "valueeval.train")
_MANIFEST = "valueeval.json"
# lm-eval's name of the function that makes tokens of a context and a continuation; also ours.
_ENCODES = "_encode_pair"


@dataclass
class Trace:
    """The calls of a block.

    Attributes:
        files: Files of the package whose functions were called.
        calls: Pairs of files: caller and called, libraries between them aside.
        encoded: Number of encodings of each request, a context and a continuation.
        manifest_reads: Number of times that a ``valueeval.json`` was opened for reading.
    """

    files: set[str] = field(default_factory=set)
    calls: set[tuple[str, str]] = field(default_factory=set)
    encoded: Counter[tuple[str, str]] = field(default_factory=Counter)
    manifest_reads: int = 0

    @property
    def mutual(self) -> list[tuple[str, str]]:
        """Pairs of files that call each other."""
        return sorted((a, b) for a, b in self.calls if a < b and (b, a) in self.calls)

    def summary(self) -> dict[str, Any]:
        """Return the numbers, as JSON values."""
        return {
            "files": len(self.files),
            "pairs": len(self.calls),
            "mutual": [list(pair) for pair in self.mutual],
            "requests": len(self.encoded),
            "encodings": sum(self.encoded.values()),
            "most_encodings_of_a_request": max(self.encoded.values(), default=0),
            "manifest_reads": self.manifest_reads,
        }


@contextmanager
def tracing() -> Iterator[Trace]:
    """Trace the calls in the block, in this thread."""
    roots = {str(Path(import_module(name).__path__[0]).resolve()): name for name in _PACKAGES}
    names: dict[str, str | None] = {}
    trace = Trace()
    active = True

    def name_of(frame: FrameType) -> str | None:
        """Return the package's name of a frame's file; None for libraries and imports."""
        file = frame.f_code.co_filename
        if file not in names:
            owners = [root for root in roots if file.startswith(root + "/")]
            root = max(owners, key=len, default=None)
            names[file] = None
            if root is not None:
                inside = Path(file).relative_to(root)
                names[file] = f"{roots[root].rpartition('.')[2]}/{inside}"
        return names[file]

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        if frame.f_code.co_name == _ENCODES:
            given = frame.f_locals
            trace.encoded[given["context"], given["continuation"]] += 1
        called = name_of(frame)
        if called is None or frame.f_code.co_name == "<module>":
            return
        trace.files.add(called)
        if frame.f_code.co_name == "__post_init__":
            return  # a value that checks itself is no call back
        caller = frame.f_back
        while caller is not None and name_of(caller) is None:
            caller = caller.f_back
        if caller is not None and caller.f_code.co_name == "<module>":
            return  # a class or a decorator, while a module is imported
        if caller is not None and name_of(caller) != called:
            trace.calls.add((str(name_of(caller)), called))

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event == "open" and str(arguments[0]).endswith(_MANIFEST):
            reads = "w" not in str(arguments[1]) and Path(str(arguments[0])).is_file()
            trace.manifest_reads += reads

    sys.addaudithook(audit)
    previous = sys.getprofile()
    sys.setprofile(note)
    try:
        yield trace
    finally:
        sys.setprofile(previous)
        active = False


def evaluate(adapter: str) -> Any:
    """Evaluate an adapter directory on two arguments of valueeval_bca_sample."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    import valueeval.tasks

    manager = TaskManager(
        include_path=str(Path(valueeval.tasks.__path__[0])), include_defaults=False
    )
    return lm_eval.simple_evaluate(
        model="valueeval",
        model_args={"adapter": adapter},
        tasks=["valueeval_bca_sample"],
        limit=2,
        batch_size=2,
        device="cpu",
        task_manager=manager,
        bootstrap_iters=0,
    )


def train(base: str, output: str) -> None:
    """Train a LoRA with template bca on the sample set, for one epoch."""
    from valueeval.cli import main

    options = {
        "data": "sample", "template": "bca", "method": "lora", "base": base, "output": output,
        "epochs": "1", "seed": "0",
    }  # fmt: skip
    main(["train", *(word for key, value in options.items() for word in (f"--{key}", value))])


def write_base(folder: Path) -> str:
    """Write a tiny GPT-2 with random weights and a byte-level tokenizer; return its folder."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    special = {"pad_token": "<pad>", "eos_token": "<|endoftext|>"}
    text = ["Does this argument rest on the value? Yes or no. Premise, conclusion, for, against."]
    bpe.train_from_iterator(text, 400, min_frequency=1, special_tokens=list(special.values()))
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=400, n_embd=16, n_layer=1, n_head=2, n_positions=2048,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def main() -> None:
    """Print both traces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    as_json = parser.parse_args().json
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = write_base(Path(folder) / "base"), str(Path(folder) / "adapter")
        steps: dict[str, Callable[[], Any]] = {
            "training": lambda: train(base, adapter),
            "evaluation": lambda: evaluate(adapter),
        }
        for name, step in steps.items():
            with tracing() as trace:
                step()
            numbers[name] = trace.summary()
    if as_json:
        print(json.dumps(numbers, indent=2))
        return
    for name, summary in numbers.items():
        print(f"\n{name}")
        for key, value in summary.items():
            shown = ", ".join(" <-> ".join(pair) for pair in value) if key == "mutual" else value
            print(f"  {key.replace('_', ' ')}: {shown if shown != '' else 'none'}")


if __name__ == "__main__":
    main()
