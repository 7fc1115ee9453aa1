"""Results that several tests of the leaderboard's outputs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaderboard_results import SAMPLE_SHA, documents, manifest, predictions, write_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three systems (seeds, wordings, one gaming without samples), sample set, a bad file."""
    folder, docs = tmp_path / "results", documents()
    for seed in (1, 2):
        write_results(folder / f"m{seed}", prediction=predictions(docs, 0.8, seed),
                      kind="valueeval", model=f"minilm-s{seed}", adapter=manifest(seed=seed),
                      model_args={"adapter": f"minilm-s{seed}"})  # fmt: skip
    for paraphrase in (1, 2):
        write_results(folder / f"gpt2-{paraphrase}", prediction=predictions(docs, 0.3, paraphrase),
                      template="bca", paraphrase=paraphrase, model="gpt2")  # fmt: skip
    write_results(folder / "gamed", model="gamed", samples=False, parameters=-1,
                  metrics={"macro_f1": 0.3, "official_f1": 0.4})  # fmt: skip
    write_results(folder / "sample", model="gpt2", dataset="sample", sample=True, official=False,
                  sha=SAMPLE_SHA)  # fmt: skip
    (folder / "results_bad.json").write_text("{")
    return folder
