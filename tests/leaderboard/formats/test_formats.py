"""The outputs: what they hold, and that nothing in a name is ever executed."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from leaderboard_results import SAMPLE_SHA, documents, manifest, predictions, write_results

from valueeval.leaderboard import text
from valueeval.leaderboard.commands.leaderboard import main
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

DOCS = documents()
HOSTILE = [
    "<script>alert(1)</script",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)",
    "=HYPERLINK(\"http://example.org\",\"x\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\\input{/etc/passwd}$x^2_1$%&#~{}",
    "[link](javascript:alert(1)) `code` | pipe | **bold**",
    "{{ 7*7 }}{% include 'x' %}",
    "evil\u202eexe.\u2066",
    "nul\x00bell\x07tab\tnewline\nend",
    "\ud800lone surrogate",
    "x" * 5000,
    "--><!-- comment",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valueeval.leaderboard.inference.analysis.RESAMPLES", 200)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three systems (seeds, wordings, one gaming without samples), sample set, a bad file."""
    folder = tmp_path / "results"
    for seed in (1, 2):
        write_results(folder / f"m{seed}", docs=DOCS, prediction=predictions(DOCS, 0.8, seed),
                      kind="valueeval", model=f"minilm-s{seed}", adapter=manifest(seed=seed),
                      model_args={"adapter": f"minilm-s{seed}"})  # fmt: skip
    for paraphrase in (1, 2):
        write_results(folder / f"gpt2-{paraphrase}", prediction=predictions(DOCS, 0.3, paraphrase),
                      template="bca", paraphrase=paraphrase, model="gpt2")  # fmt: skip
    write_results(folder / "gamed", model="gamed", samples=False, parameters=-1,
                  metrics={"macro_f1": 0.3, "official_f1": 0.4})  # fmt: skip
    write_results(folder / "sample", model="gpt2", dataset="sample", sample=True, official=False,
                  sha=SAMPLE_SHA)  # fmt: skip
    (folder / "results_bad.json").write_text("{")
    return folder


def outputs(results: Path, *endings: str) -> dict[str, str]:
    out = results.parent / "out"
    arguments = [str(results)]
    for ending in endings:
        arguments += ["-o", str(out / f"board{ending}")]
    assert main(arguments) == 0
    return {ending: (out / f"board{ending}").read_text(encoding="utf-8") for ending in endings}


def test_csv_has_every_row_and_column_and_missing_is_empty(results: Path) -> None:
    rows = list(csv.DictReader(outputs(results, ".csv")[".csv"].splitlines()))
    by_status: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_status.setdefault(row["status"], []).append(row)
    assert {key: len(by_status[key]) for key in ("ranked", "other wording", "sample")} == {
        "ranked": 3, "other wording": 1, "sample": 1,
    }  # fmt: skip
    minilm, *_, gamed = sorted(by_status["ranked"], key=lambda row: int(row["rank"]))
    assert (minilm["system"], minilm["seeds"], minilm["seed_list"]) == ("minilm", "2", "1; 2")
    assert minilm["is_best"] == "yes"
    assert (
        float(minilm["macro_f1_low"]) < float(minilm["macro_f1"]) < float(minilm["macro_f1_high"])
    )
    assert (gamed["parameters"], gamed["p"], gamed["gamed"]) == ("", "", "yes")
    assert by_status["sample"][0]["rank"] == ""
    john = next(row for row in rows if row["system"] == "John Arthur")
    assert (john["status"], john["macro_f1"], john["official_f1"]) == ("published", "", "0.55")


def test_json_is_strict_and_says_what_was_not_used(results: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(outputs(results, ".json")[".json"], parse_constant=refuse)
    assert content["values"] == list(VALUE_NAMES)
    assert content["not_used"][0]["source"] == "results/results_bad.json"
    ranked = [row for row in content["rows"] if row["status"] == "ranked"]
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    assert all(len(row["f1"]) == 20 for row in ranked)
    assert len({tuple(row) for row in content["rows"]}) == 1, "all rows have the same keys"


def test_an_interval_from_the_results_is_marked_as_such(results: Path) -> None:
    content = outputs(results, ".json", ".md")
    rows = {row["system"]: row for row in json.loads(content[".json"])["rows"]}
    assert rows["minilm"]["interval_from"] == "samples"
    assert rows["gamed"]["interval_from"] == "results"
    (line,) = [line for line in content[".md"].splitlines() if "| gamed |" in line]
    assert "] ° |" in line
    assert "⚠" in line


def test_latex_is_booktabs_with_balanced_rows(results: Path) -> None:
    page = outputs(results, ".tex")[".tex"]
    for table in page.split(r"\begin{table}")[1:]:
        body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {9}
    assert r"\emph{Adam Smith}" in page


def test_every_output_is_the_same_at_the_second_time(results: Path) -> None:
    endings = (".md", ".csv", ".tex", ".json", ".html", ".yaml")
    assert outputs(results, *endings) == outputs(results, *endings)


# ------------------------------------------------------------------------------- hostile names


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text_everywhere(tmp_path: Path, name: str) -> None:
    write_results(tmp_path / "results", model=name, samples=False)
    pages = outputs(tmp_path / "results", ".md", ".csv", ".tex", ".json", ".html", ".yaml")
    shown = text.clean(name)
    assert len(shown) <= 200
    (row,) = [row for row in csv.reader(pages[".csv"].splitlines()) if row[1] == "ranked"]
    assert row[6][:1] not in tuple("=+-@\t\r\n")
    html = pages[".html"]
    assert "<img" not in html
    assert html.count("<script") == 2, "the data and our own script"
    assert html.count("</script>") == 2
    assert "49" not in re.findall(r'class="system">([^<]*)<', html)
    (line,) = [line for line in pages[".md"].splitlines() if "| zero-shot | cls |" in line]
    assert not re.search(r"<(?!/?details|/?summary|!--)\w", line)
    latex = next(line for line in pages[".tex"].splitlines() if "zero-shot & cls" in line)
    assert "\\input" not in latex
    assert not re.search(r"(?<!\\)[$#%]", latex.replace(r"$\approx$", "").replace(r"$\dagger$", ""))
    assert yaml.safe_load(pages[".yaml"])["model-index"][0]["results"]
    for page in pages.values():
        assert "\x00" not in page
        assert "\u202e" not in page


def test_csv_keeps_numbers_numbers_and_marks_formulas() -> None:
    assert text.csv("=1+1") == "'=1+1"
    assert text.csv("minilm") == "minilm"
    assert text.latex("a_b & 50% \\ {x}") == r"a\_b \& 50\% \textbackslash{} \{x\}"
    assert text.markdown("a|b <i> [x](y)") == r"a\|b &lt;i&gt; \[x\](y)"


def test_counts_are_short() -> None:
    given = [None, 0, 999, 1000, 22_720_916, 999_600, 124_439_808, 7_000_000_000]
    assert [text.count(n) for n in given] == [
        "", "0", "999", "1k", "22.7M", "1M", "124M", "7B",
    ]  # fmt: skip


# ------------------------------------------------------------------------------- samples


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: lines[:-1], "59 samples, but the results are of 60"),
        (lambda lines: [*lines[:-1], lines[-1][:50]], "line 60 is no JSON"),
        (lambda lines: [*lines[:-1], lines[0]], "for the second time"),
        (lambda lines: ["{}\n", *lines[1:]], "line 1 is no sample"),
        (lambda lines: [], "empty file"),
        (lambda lines: [line.replace('"prediction": [0', '"prediction": [7') for line in lines],
         "is no sample"),
        (lambda lines: [line.replace('"prediction": [1', '"prediction": [0') for line in lines],
         "by the samples but"),
    ],
)  # fmt: skip
def test_samples_that_do_not_fit_their_results_are_not_used(
    tmp_path: Path, damage: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_results(tmp_path / "results", prediction=predictions(DOCS, 0.9))
    (samples,) = path.parent.glob("samples_*")
    lines = samples.read_text(encoding="utf-8").splitlines(keepends=True)
    samples.write_text("".join(damage(lines)), encoding="utf-8")
    page = json.loads(outputs(tmp_path / "results", ".json")[".json"])
    assert reason in page["not_used"][0]["reason"]
    assert reason in capsys.readouterr().err
    row = page["rows"][0]
    assert (row["rank"], row["interval_from"], row["p"]) == (1, "results", None)


def test_samples_on_other_labels_are_not_compared(tmp_path: Path) -> None:
    other = [dict(doc) for doc in DOCS]
    other[0] = {**other[0], "labels": [1 - label for label in other[0]["labels"]]}
    write_results(tmp_path / "results/a", model="a", prediction=predictions(DOCS, 0.9))
    write_results(tmp_path / "results/b", model="b", docs=other, prediction=predictions(DOCS, 0.2))
    page = json.loads(outputs(tmp_path / "results", ".json")[".json"])
    assert "other arguments or labels" in page["not_used"][0]["reason"]
    assert [row["is_best"] for row in page["rows"][:2]] == [True, None]


# ------------------------------------------------------------------------------- figures, exchange


def test_every_figure_as_png_and_svg(results: Path) -> None:
    folders = [results.parent / name for name in ("one", "two")]
    for folder in folders:
        main([str(results), "-o", str(results.parent / "x.md"), "--figures", str(folder)])
    names = {path.name for path in folders[0].iterdir()}
    expected = ["intervals", "f1-parameters", "f1-trained-parameters", "f1-training-size",
                "f1-per-value", "wordings-and-seeds", "precision-recall"]  # fmt: skip
    assert names == {f"main-{name}.{ending}" for name in expected for ending in ("png", "svg")}
    for name in names:
        content = (folders[0] / name).read_bytes()
        assert content == (folders[1] / name).read_bytes(), "the same bytes"
        if name.endswith("svg"):
            ElementTree.fromstring(content)  # noqa: S314 (our own)
            assert b"gpt2" in content or b"minilm" in content or b"main-f1-" in name.encode()
        else:
            assert content.startswith(b"\x89PNG")


def test_figures_of_a_hostile_name(tmp_path: Path) -> None:
    write_results(tmp_path / "results", model="$x_{1$ <b> \\frac{1}{0} & ]]>")
    main(
        [str(tmp_path / "results"), "-o", str(tmp_path / "x.md"), "--figures", str(tmp_path / "f")]
    )
    ElementTree.fromstring((tmp_path / "f/main-intervals.svg").read_bytes())  # noqa: S314


def test_model_index_is_what_the_hub_reads(results: Path) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    index = yaml.safe_load(outputs(results, ".yaml")[".yaml"])["model-index"]
    assert [model["name"] for model in index] == ["minilm", "gpt2", "gamed"]
    name, found = model_index_to_eval_results(index[:1])
    assert name == "minilm"
    assert {result.metric_name for result in found} >= {"macro_f1", "official_f1"}
    assert all(result.dataset_split == "main" for result in found)


def test_every_eval_ever_records_hold_what_their_schema_requires(results: Path) -> None:
    out = results.parent / "eee"
    main([str(results), "-o", str(results.parent / "x.md"), "--every-eval-ever", str(out)])
    files = sorted(out.rglob("*.json"))
    assert len(files) == 3, "ranked rows only"
    for file in files:
        assert file.parent.parent.parent == out / "touche23-valueeval"
        record = json.loads(file.read_text(encoding="utf-8"))
        assert set(record) == {
            "schema_version", "evaluation_id", "evaluation_timestamp", "retrieved_timestamp",
            "source_metadata", "eval_library", "model_info", "evaluation_results",
        }  # fmt: skip
        assert {"name", "id", "additional_details"} <= set(record["model_info"])
        details = record["model_info"]["additional_details"]
        assert {"deployment_type", "model_availability"} <= set(details)
        assert all(isinstance(value, str) for value in details.values())
        for result in record["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(
                result
            )
            assert 0 <= result["score_details"]["score"] <= 1


def test_a_hostile_name_stays_inside_the_exchange_folder(tmp_path: Path) -> None:
    write_results(tmp_path / "results", model="../../etc/..")
    out = tmp_path / "a" / "eee"
    main([str(tmp_path / "results"), "-o", str(tmp_path / "x.md"), "--every-eval-ever", str(out)])
    assert len(list(out.rglob("*.json"))) == 1
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"eee"}


def test_an_output_that_cannot_be_written_is_an_error_and_nothing_is_half_written(
    results: Path,
) -> None:
    (results.parent / "file").write_text("")
    with pytest.raises(ValueEvalError, match="cannot be written"):
        main([str(results), "-o", str(results.parent / "file" / "board.md")])
    assert [path.name for path in results.parent.iterdir() if path.name.startswith(".")] == []


def test_two_thousand_files_without_samples_make_one_board(tmp_path: Path) -> None:
    content = write_results(tmp_path / "one", samples=False).read_text(encoding="utf-8")
    for number in range(2000):
        folder = tmp_path / "results" / str(number)
        folder.mkdir(parents=True)
        changed = content.replace("runs/minilm", f"model-{number}")
        (folder / "results_2026-11-01T10-30-00.000000.json").write_text(changed, encoding="utf-8")
    rows = json.loads(outputs(tmp_path / "results", ".json")[".json"])["rows"]
    assert sum(row["status"] == "ranked" for row in rows) == 2000


def test_training_s_cost_is_the_median_of_the_seeds_that_tell(tmp_path: Path) -> None:
    costs: list[dict[str, Any]] = [
        {"seconds": 60.0, "peak_memory_bytes": 100},
        {"seconds": 90.0, "peak_memory_bytes": 300},
        {"seconds": 600, "peak_memory_bytes": 200, "peak_device_bytes": 500},
        {"seconds": "long", "peak_memory_bytes": 10**400},
    ]
    for seed, cost in enumerate(costs):
        write_results(tmp_path / "results" / str(seed), kind="valueeval", model=f"minilm-s{seed}",
                      adapter=manifest(seed=seed, **cost),
                      model_args={"adapter": f"minilm-s{seed}"})  # fmt: skip
    rows = csv.DictReader(outputs(tmp_path / "results", ".csv")[".csv"].splitlines())
    (row,) = (row for row in rows if row["status"] == "ranked")
    assert (row["seeds"], row["training_seconds"], row["training_memory_bytes"]) == (
        "4",
        "90",
        "200",
    )
    assert row["training_device_memory_bytes"] == "500"
