"""A request of valueeval_bca walks one way: benchmarks/call_trace.py on a tiny model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from language_models import write_peft
from tiny_adapters import make_manifest

from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.manifest import BaseModel
from valueeval.adapters.directory.manifest_file import describe_files, write_manifest
from valueeval.registration import register

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import call_trace

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_a_request_walks_one_way(tmp_path: Path) -> None:
    """No two files call each other; nothing is encoded or read twice."""
    register()
    base = Path(call_trace.write_base(tmp_path / "base"))
    adapter = write_peft(tmp_path / "adapter", base, "causal", "lora")
    source = fetch_base(str(base))
    manifest = make_manifest(
        describe_files(adapter),
        template="bca",
        head=None,
        base_model=BaseModel(source.name, None, source.sha256),
    )
    write_manifest(adapter, manifest)
    with call_trace.tracing() as trace:
        call_trace.evaluate(str(adapter))
    assert "adapters/harness/language_model_lm.py" in trace.files
    assert trace.mutual == []
    assert len(trace.encoded) == 160  # two arguments, 20 values, yes and no in two spellings
    assert set(trace.encoded.values()) == {1}
    assert trace.manifest_reads == 1
