"""benchmarks/interval_coverage.py: intervals cover and tests hold their level in simulation."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from valueeval.tasks.scores.f1 import Counts
from valueeval.tasks.scores.jackknife import LeaveOneOut, score_counts
from valueeval.tasks.scores.many_systems import rank_systems

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    return load("interval_coverage")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def made_up(simulation: ModuleType, **changes: object) -> object:
    """A beta-binomial world that needs no data."""
    mean = np.linspace(0.05, 0.35, 20)
    alike = np.full(20, 0.15)
    rate = simulation.Rate
    world = simulation.BetaBinomial(
        rate(mean, alike), rate(0.3 + mean, alike), rate(mean / 2, alike), 0.5, ((0.0, 0.0),) * 2
    )
    return replace(world, **changes)


SIZES = np.array([100] * 10 + [5] * 40)


def test_rates_have_the_mean_and_correlation_asked_for(simulation: ModuleType) -> None:
    """Var of a beta is mean (1 - mean) correlation."""
    rng = np.random.default_rng(0)
    drawn = simulation._beta(np.array([0.2]), np.array([0.1]), (100_000, 1), rng)
    assert drawn.mean() == pytest.approx(0.2, abs=0.005)
    assert drawn.var() == pytest.approx(0.2 * 0.8 * 0.1, rel=0.05)


def test_fitted_rates_are_those_drawn(simulation: ModuleType) -> None:
    rng = np.random.default_rng(1)
    trials = np.full((3000, 1), 30.0)
    rate = simulation._beta(np.array([0.3]), np.array([0.2]), (3000, 1), rng)
    found = simulation._rate(rng.binomial(30, rate).astype(float), trials)
    assert found.mean[0] == pytest.approx(0.3, abs=0.02)
    assert found.correlation[0] == pytest.approx(0.2, abs=0.02)


def test_the_bootstrap_is_certain_of_what_does_not_vary(simulation: ModuleType) -> None:
    actual = np.tile(np.arange(1.0, 21), (12, 1))
    counts = Counts(actual[None], actual[None], actual)
    centre, reach = simulation.bootstrap.half_width(
        counts, "macro_f1", 50, np.random.default_rng(0)
    )
    assert (centre[0], reach[0]) == (1, 0)


def test_the_bootstraps_standard_error_is_near_the_jackknifes(simulation: ModuleType) -> None:
    """Many conclusions of the same size: the quantile of t* is near 1.96."""
    world = made_up(simulation)
    sizes = np.full(300, 20)
    counts = world.draw(sizes, np.random.default_rng(2))  # type: ignore[attr-defined]
    for metric in ("macro_f1", "official_f1"):
        _, reach = simulation.bootstrap.half_width(counts, metric, 400, np.random.default_rng(0))
        _, without = score_counts(counts, metric)
        error = np.sqrt(299 * without.var(1))
        assert reach[:2] / error == pytest.approx(1.96, rel=0.15)


def test_a_small_simulation_covers(simulation: ModuleType) -> None:
    (drawn,) = simulation.simulate(made_up(simulation), SIZES, ["macro_f1"], 200)
    for runs, minus in (((0,), ()), ((1,), (0,))):
        covered = simulation.coverage(drawn, runs, minus).covered
        assert np.mean(covered) > 0.90  # 95 % less 3 standard errors of 200 sets


def test_a_small_simulation_of_tables_excludes_nobody(simulation: ModuleType) -> None:
    world = made_up(simulation, systems=((0.0, 0.0),) * 12)
    (drawn,) = simulation.simulate(world, SIZES, ["macro_f1"], 40)
    systems = [[g] for g in range(12)]
    wrong = [not rank_systems(scores, systems).can_be_best.all() for scores in drawn.scores]  # type: ignore[union-attr]
    assert np.mean(wrong) <= 0.15  # 5 % and 3 standard errors of 40 tables


@pytest.mark.slow
def test_in_every_world_intervals_cover_and_tests_hold_their_level(
    simulation: ModuleType, real_data_dir: Path
) -> None:
    """A small version of the committed report; 4 Monte Carlo standard errors are allowed for."""
    sets, tables = 200, 40
    study = simulation.prepare(real_data_dir, sets, tables, 0)
    allowed = 2 + 4 * 100 * np.sqrt(0.05 * 0.95 / sets)
    for name in ("main", "validation"):
        for row in simulation.rows_of_pairs(study, name):
            cells = cells_of(row)
            for cell in (cells[4], cells[7]):
                assert abs(share_of(cell)[0] - 95) <= allowed, row
            if abs(float(cells[3])) < 0.001:
                assert share_of(cells[9])[0] <= 5 + allowed, row
    for which in range(4):
        (row,) = simulation.rows_of_tables(study, "main", which)
        excluded = share_of(cells_of(row)[2])[0]
        assert excluded <= 5 + 4 * 100 * np.sqrt(0.05 * 0.95 / tables), row


def test_the_committed_report_is_of_this_program(simulation: ModuleType) -> None:
    text = simulation.OUTPUT.read_text("utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == [section[0] for section in simulation.SECTIONS]
    assert all(section[2] in text for section in simulation.SECTIONS)


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def share_of(cell: str) -> tuple[float, float]:
    """A share with its Monte Carlo error, in percent."""
    value, error = cell.split(" ± ")
    return float(value), float(error)


def section_of(simulation: ModuleType, title: str) -> list[list[str]]:
    """The rows of a section of the committed report whose first cell names sizes."""
    text = simulation.OUTPUT.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [cells_of(line) for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] in simulation.SIZES]


def test_the_committed_report_shows_what_is_promised(simulation: ModuleType) -> None:
    """Within two Monte Carlo errors: coverage 95 ± 2 %, tests at most 6.5 %, tables at most 5 %."""
    rows = section_of(simulation, "Scores and differences")
    assert len(rows) == 26
    for row in rows:
        for cell in (row[4], row[7]):
            covered, error = share_of(cell)
            assert error <= 1
            assert abs(covered - 95) <= 2 + 2 * error, row
        if abs(float(row[3])) < 0.002:
            rejected, error = share_of(row[9])
            assert rejected <= 6.5 + 2 * error, row
    for row in section_of(simulation, "macro_ap"):
        for cell in (row[1], row[4]):
            assert abs(share_of(cell)[0] - 95) <= 2 + 2 * share_of(cell)[1], row
    tables = section_of(simulation, "Tables of equal systems")
    assert len(tables) == len(simulation.TABLE_CASES)
    for row in tables:
        excluded, error = share_of(row[2])
        assert excluded <= 5 + 2 * error, row


def test_intervals_begin_where_the_committed_report_says(simulation: ModuleType) -> None:
    """From MIN_DF on, four of five intervals lie above the score of predicting every value."""
    text = simulation.OUTPUT.read_text("utf-8").split("## Few conclusions\n")[1]
    cases = [cells_of(line) for line in text.splitlines() if re.match(r"\| \d.*\d+\.\d \|", line)]
    assert len(cases) == 16
    below = []
    for case in cases:
        (real, error), (other, _) = share_of(case[4]), share_of(case[9])
        if float(case[1]) >= simulation.MIN_DF:
            assert min(real, other) >= 80 - 2 * error, case
        else:
            below.append(min(real, other))
    assert min(below) < 60
    assert sum(share < 80 for share in below) > len(below) / 2


def test_scores_of_a_simulated_set_are_those_of_its_counts(simulation: ModuleType) -> None:
    (drawn,) = simulation.simulate(made_up(simulation), SIZES, ["macro_f1"], 3)
    assert isinstance(drawn.scores[0], LeaveOneOut)
    value, without = score_counts(drawn.counts[0], "macro_f1")
    assert np.array_equal(value, drawn.scores[0].value)
    assert without.shape == (2, len(SIZES))
