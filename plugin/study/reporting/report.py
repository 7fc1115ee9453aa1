"""``valueeval study FILE --report DIR``: what a study found, as markdown and as a page.

The report of a study that is not finished says what is missing. It holds no date and no duration:
the same results give the same bytes, however often the study was stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from valueeval.leaderboard import text
from valueeval.leaderboard.reading.runs import Problem, merged
from valueeval.study.cells import Cell
from valueeval.study.commands import SELECTION_FILE
from valueeval.study.design import Selection, Study, level_name
from valueeval.study.reporting.figures import METRIC, draw, file_name
from valueeval.study.reporting.findings import Finding, Verdict, check_hypotheses
from valueeval.study.reporting.measured import Group, Measured, groups_of, read_cells
from valueeval.study.store import State, Store
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.scores.variance import Component, variance_components


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a study in its report, or those of its cells that share a part of the arguments.

    Attributes:
        name: Its name.
        description: Its question, as the study file states it; may be empty.
        part: The part of the set that its cells are evaluated on, in words; empty for all of it.
        arguments: Their number; None where nothing is measured.
        every_value: The macro F1 of predicting every value for each of them.
        figures: Ending of the names of its figures.
        groups: Its measured configurations, the best macro F1 first.
        unmeasured: Names of those without any result.
        components: How much each factor moves macro F1; None where the finished cells are not a
            balanced design.
    """

    name: str
    description: str
    part: str
    arguments: int | None
    every_value: float | None
    figures: str
    groups: Sequence[Group]
    unmeasured: Sequence[str]
    components: Sequence[Component] | None


@dataclass(frozen=True, eq=False)
class Choice:
    """A configuration that was chosen by cross-validation.

    Attributes:
        name: The cell that chose.
        selection: The JSON of ``valueeval select``: the chosen one, all candidates, numbers.
    """

    name: str
    selection: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Report:
    """What a study found.

    Attributes:
        study: The study.
        dataset: The set of the dataset that it is about.
        arguments, conclusions: Their numbers in that set; None where nothing is measured on all
            of it.
        every_value: The macro F1 of predicting every value for every argument of it.
        done, cells: Numbers of finished cells and of all.
        findings: For each hypothesis.
        choices: Configurations that were chosen by cross-validation.
        blocks: In the order of the file.
        missing: How many cells of a block have no result, and how many cells it has, by block.
        failed: Label and reason of each cell that failed.
        problems: Results that could not be used.
        figures: SVG by name.
    """

    study: Study
    dataset: str
    arguments: int | None
    conclusions: int | None
    every_value: float | None
    done: int
    cells: int
    findings: Sequence[Finding]
    choices: Sequence[Choice]
    blocks: Sequence[Block]
    missing: Mapping[str, tuple[int, int]]
    failed: Sequence[tuple[str, str]]
    problems: Sequence[Problem]
    figures: Mapping[str, str]

    @property
    def families(self) -> dict[str, list[Finding]]:
        """Tested hypotheses by family."""
        found: dict[str, list[Finding]] = {}
        for each in self.findings:
            if each.verdict is not Verdict.NOT_MEASURED:
                found.setdefault(each.hypothesis.family, []).append(each)
        return found

    @property
    def untested(self) -> list[Finding]:
        """Hypotheses whose cells are not all finished, or lack scores."""
        return [each for each in self.findings if each.verdict is Verdict.NOT_MEASURED]

    @property
    def verdicts(self) -> str:
        """How many hypotheses have each verdict, in words."""
        counts = Counter(each.verdict for each in self.findings)
        return ", ".join(f"{counts[each]} {each.value}" for each in Verdict if counts[each])


def make_report(study: Study, cells: Sequence[Cell], store: Store, dataset: str) -> Report:
    """Read the finished cells of a study and test its hypotheses.

    Args:
        study: The study.
        cells: Its cells.
        store: The folder of their results.
        dataset: The set of the dataset to report: ``main``, ``validation``, ``sample`` ….
    """
    evaluated = [cell for cell in cells if not cell.supporting]
    measured, problems = read_cells(evaluated, store, dataset)
    groups = groups_of(evaluated, measured)
    blocks = [
        _block(
            name,
            study.block_descriptions.get(name, ""),
            part,
            [group for group in groups if (group.block, group.part) == (name, part)],
        )
        for name, part in dict.fromkeys(
            (str(cell.factors["block"]), cell.part) for cell in study.cells
        )
    ]
    first = next((each for each in measured.values() if not each.cell.design.part), None)
    unique = {cell.key: cell for cell in evaluated}
    return Report(
        study=study,
        dataset=dataset,
        arguments=None if first is None else len(first.predictions.ids),
        conclusions=None if first is None else len(set(first.predictions.clusters)),
        every_value=None if first is None else first.every_value,
        done=len(measured),
        cells=len(unique),
        findings=check_hypotheses(study, cells, measured),
        choices=_choices(unique.values(), store),
        blocks=blocks,
        missing=_missing(evaluated, measured),
        failed=[
            (cell.design.label, store.failure(cell))
            for key, cell in unique.items()
            # A cell that runs just now is as little measured as one that waits.
            if key not in measured and store.state(cell) is State.FAILED
        ],
        problems=merged(problems),
        figures=draw([group for block in blocks for group in block.groups]),
    )


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.md``, ``report.html`` and the figures into a folder; return what was written.

    Raises:
        ValueEvalError: It cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("valueeval.study.reporting", "."),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        md=text.markdown, score=text.score, share=text.share, count=text.count, p=text.p_value,
        signed=_signed, ends=text.interval, selection=_selection,
    )  # fmt: skip
    # matplotlib escapes what it writes, so the page takes its SVG as it is.
    drawn = {name: svg[svg.index("<svg") :] for name, svg in report.figures.items()}
    files = {f"figures/{name}.svg": svg for name, svg in report.figures.items()}
    for ending in ("md", "html"):
        template = environment.get_template(f"report.{ending}.jinja")
        files[f"report.{ending}"] = template.render(report=report, svg=drawn)
    written = []
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
            written.append(folder / name)
    except OSError as error:
        raise ValueEvalError(f"{folder}: cannot be written ({error.strerror})") from error
    return written


def _block(name: str, description: str, part: str, groups: Sequence[Group]) -> Block:
    def order(group: Group) -> tuple[bool, float]:
        found = group.intervals[METRIC]
        return (found is None, -(found.estimate or 0.0) if found else 0.0)

    finished = [each for group in groups for each in group.measured]
    complete = all(len(group.measured) == len(group.cells) for group in groups)
    return Block(
        name=name,
        description=description,
        part=part,
        arguments=len(finished[0].predictions.ids) if finished else None,
        every_value=finished[0].every_value if finished else None,
        figures=file_name(name, part),
        groups=sorted((group for group in groups if group.measured), key=order),
        unmeasured=[group.label for group in groups if not group.measured],
        components=_components(finished) if complete else None,
    )


def _components(finished: Sequence[Measured]) -> list[Component] | None:
    factors = {
        name: [str(each.cell.design.factors.get(name)) for each in finished]
        for name in dict.fromkeys(name for each in finished for name in each.cell.design.factors)
        if name not in ("block", "seed")
    }
    varied = {name: levels for name, levels in factors.items() if len(set(levels)) > 1}
    scores = [each.scores[METRIC] for each in finished]
    known = [score for score in scores if score is not None]
    return variance_components(varied, known) if known and len(known) == len(scores) else None


def _choices(cells: Iterable[Cell], store: Store) -> list[Choice]:
    """Return the choices that have been made, evaluated on a test set or not yet."""
    found = []
    for cell in cells:
        file = store.path(cell) / SELECTION_FILE
        if cell.candidates and file.is_file():
            selection = json.loads(file.read_text(encoding="utf-8"))
            found.append(Choice(cell.design.label, selection))
    return found


def _missing(cells: Sequence[Cell], measured: Mapping[str, Measured]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for cell in cells:
        block = str(cell.design.factors["block"])
        lacking, total = found.get(block, (0, 0))
        found[block] = (lacking + (cell.key not in measured), total + 1)
    return {block: counts for block, counts in found.items() if counts[0]}


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _selection(selection: Selection) -> str:
    """Return the cells of a side in words: ``mpnet, lora or full, num_fewshot 4``."""
    return ", ".join(
        level_name(name, wanted) if not isinstance(wanted, list)
        else " or ".join(level_name(name, each) for each in wanted)
        for name, wanted in selection.items()
    )  # fmt: skip
