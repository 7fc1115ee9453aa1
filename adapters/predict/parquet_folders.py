"""Label folders of Parquet files on all cores or GPUs of a machine or a cluster, with Ray Data.

``valueeval predict FOLDER --engine ray -o OUT``. The work is cut into parts, the row groups of the
files. Each is labelled by one of the actors of `ray.data.Dataset.map_batches` and written to a
Parquet file of its own in OUT, under a temporary name until it is whole. So memory holds some
thousand rows an actor, and after a kill the same command goes on with the parts that are missing.
Ray runs on this machine, or on the cluster that ``$RAY_ADDRESS`` names (both folders must then be
on a disk that all its machines share).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path
from typing import Any, cast

import numpy as np

from valueeval.adapters.directory.ensemble import find_members
from valueeval.adapters.engines.choose import MANY_TEXTS
from valueeval.adapters.predict.labelling import kinds_of, label_rows
from valueeval.adapters.predict.layout import Layout, Roles, find_layout
from valueeval.adapters.predict.model import LOOKED_AT, Model, load_found, refuse_clash
from valueeval.adapters.predict.summary import Summary
from valueeval.adapters.tables.parquet import open_parquet
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing

RUN_FILE = "valueeval-run.json"
_ROWS_AT_ONCE = 4096
_COUNTS = b"valueeval_counts"  # key in a part's Parquet metadata


@dataclass(frozen=True)
class Part:
    """A row group of a file, and the file that its labelled rows go to."""

    source: str
    group: int
    target: str


@dataclass(frozen=True)
class Run:
    """Settings that all parts share.

    Attributes:
        adapter: The adapter, as it is loaded by its name.
        weights_sha256: The hash of its weights.
        engine: The engine that runs it in an actor.
        layout: The columns of the argument.
        prefix: The beginning of the names of the added columns.
    """

    adapter: str
    weights_sha256: str
    engine: str
    layout: Layout
    prefix: str


def label_folder(
    folder: Path, output: Path, adapter: str, roles: Roles, prefix: str = "", engine: str = "auto"
) -> Summary:
    """Label all Parquet files of a folder; return the summary of all parts.

    Args:
        folder: A folder of Parquet files with the same columns, or one such file.
        output: The folder to write; one that an interrupted run of the same command has left is
            completed.
        adapter: As for `find_members`.
        roles: The user's choice of columns.
        prefix: The beginning of the names of the added columns.
        engine: The engine that runs the adapter in each actor, as for `load_found`.

    Raises:
        ValueEvalError: Ray is not installed, the files cannot be used, or the output is of another
            run.
    """
    if util.find_spec("ray") is None:
        raise ValueEvalError(
            "--engine ray: ray is not installed: pip install 'lm-eval-valueeval[ray]'"
        )
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise ValueEvalError(f"{output}: lies in the folder that is read; name another.")
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder]
    if not files:
        raise ValueEvalError(f"{folder}: no file in it ends in .parquet.")
    stems = _stems(files, folder)
    layout, rows = _check_files(files, roles, prefix)
    members = find_members(adapter)
    # Exported here, once, rather than by every actor.
    worth_exporting = rows >= MANY_TEXTS
    chosen = load_found(adapter, members, engine=engine, worth_exporting=worth_exporting).engine
    run = Run(adapter, members.manifest.weights_sha256, chosen, layout, prefix)
    parts = list(_parts(stems, output))
    _claim(output, run, files, engine)
    missing = [part for part in parts if not Path(part.target).exists()]
    if missing:
        _label_parts(missing, run)
    return summarise(Path(part.target) for part in parts)


def label_part(part: Part, run: Run, model: Model) -> None:
    """Label a row group and write it; its file appears when it is whole."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    kinds = kinds_of(run.prefix)
    summary = Summary()
    file = parquet.ParquetFile(part.source)
    schema = file.schema_arrow.remove_metadata()
    for column, kind in kinds.items():
        schema = schema.append(pa.field(column, types[kind]))
    target = Path(part.target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with parquet.ParquetWriter(temporary, schema) as writer:
            place = 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[part.group]):
                rows = (
                    Record(f"row {place + number}", cells)
                    for number, cells in enumerate(batch.to_pylist(), start=1)
                )
                added: dict[str, list[Any]] = {column: [] for column in kinds}
                for labelled in label_rows(rows, run.layout, model):
                    cells = labelled.cells(run.prefix)
                    for column in kinds:
                        added[column].append(cells[column])
                    if labelled.decided is None:
                        summary.problems[labelled.problem.kind if labelled.problem else ""] += 1
                    else:
                        summary.add(labelled.decided)
                arrays = [pa.array(added[column], types[kind]) for column, kind in kinds.items()]
                writer.write_batch(
                    pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=schema)
                )
                place += batch.num_rows
            counts = {
                "rows": summary.labelled.rows, "counts": summary.labelled.counts.tolist(),
                "problems": summary.problems, "wide": summary.wide, "none": summary.none,
            }  # fmt: skip
            writer.add_key_value_metadata({_COUNTS: json.dumps(counts).encode()})
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def summarise(targets: Iterator[Path]) -> Summary:
    """Return the summary of labelled parts, from their metadata."""
    from pyarrow import parquet

    total = Summary()
    for target in targets:
        counts = json.loads(parquet.read_metadata(target).metadata[_COUNTS])
        total.labelled.rows += counts["rows"]
        total.labelled.counts += np.array(counts["counts"], dtype=np.int64)
        total.problems += Counter(counts["problems"])
        total.wide += counts["wide"]
        total.none += counts["none"]
    return total


def _check_files(files: Sequence[Path], roles: Roles, prefix: str) -> tuple[Layout, int]:
    """Return the layout that all files have, and the number of their rows.

    Raises:
        ValueEvalError: One is no Parquet file, their columns differ, or it is not clear which
            columns hold the argument.
    """
    layout, schema, number = None, None, 0
    for path in files:
        with path.open("rb") as stream:
            file = open_parquet(stream, str(path))
            number += file.metadata.num_rows
            if schema is None:
                schema = file.schema_arrow.remove_metadata()
                refuse_clash(schema.names, prefix, str(path), "--prefix ")
                first = next(file.iter_batches(LOOKED_AT), None)
                cells = [] if first is None else first.to_pylist()
                rows = [Record(f"row {place}", row) for place, row in enumerate(cells, start=1)]
                layout = find_layout(schema.names, roles, rows, str(path))
            elif not file.schema_arrow.remove_metadata().equals(schema):
                raise ValueEvalError(f"{path}: other columns, or of other types, than {files[0]}.")
    assert layout is not None  # noqa: S101 (there is a file; for the type checker)
    return layout, number


def _stems(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Return the files by what the names of their labelled files begin with.

    Raises:
        ValueEvalError: It is the same for two of them.
    """
    stems: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder) if folder.is_dir() else Path(path.name)
        stem = "--".join(name.with_suffix("").parts)
        if stem in stems:
            raise ValueEvalError(
                f"{stems[stem]} and {path}: the labels of both would go to {stem}-….parquet. "
                "Rename one."
            )
        stems[stem] = path
    return stems


def _parts(stems: Mapping[str, Path], output: Path) -> Iterator[Part]:
    """Yield the row groups of the files, with the names of their labelled files."""
    from pyarrow import parquet

    for stem, path in stems.items():
        for group in range(parquet.read_metadata(path).num_row_groups):
            target = output / f"{stem}-{group:05d}.parquet"
            yield Part(str(path.resolve()), group, str(target.resolve()))


def _claim(output: Path, run: Run, files: Sequence[Path], engine: str) -> None:
    """Make the output folder this run's.

    Raises:
        ValueEvalError: It holds something else.
    """
    identity = {
        "weights_sha256": run.weights_sha256,
        "engine": engine,  # the one that was asked for: `auto` may choose otherwise another day
        "prefix": run.prefix,
        "layout": hashlib.sha256(repr(asdict(run.layout)).encode()).hexdigest(),
        "files": [[str(path.resolve()), path.stat().st_size] for path in files],
    }
    record = output / RUN_FILE
    output.mkdir(parents=True, exist_ok=True)
    if record.exists():
        if json.loads(record.read_text("utf-8")) != identity:
            raise ValueEvalError(
                f"{output}: holds the labels of another run (other files, columns or model): name "
                "another folder, or remove it."
            )
        return
    if any(output.iterdir()):
        raise ValueEvalError(f"{output}: holds other files; name a new folder.")
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(identity, indent=1) + "\n", "utf-8")


def _label_parts(parts: Sequence[Part], run: Run) -> None:
    """Label parts on all cores, or all GPUs if the engine is PyTorch and there are some."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # a busy machine starts slowly
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        # With $RAY_ADDRESS it joins that cluster.
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources = cast(Any, ray).cluster_resources()
        gpus = int(resources.get("GPU", 0)) if run.engine == "torch" else 0
        workers = min(gpus or int(resources.get("CPU", 1)), len(parts))
        needs: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        places = [{"part": place} for place in range(len(parts))]
        # Cut here, not by `repartition`: its tasks would wait for a core, which the actors hold.
        done = ray.data.from_items(places, override_num_blocks=len(parts)).map_batches(
            _Actor,
            fn_constructor_args=(tuple(parts), run, gpus == 0),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            **needs,
        )
        for _ in done.iter_rows():  # runs it; nothing but numbers of parts comes back
            pass
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, ValueEvalError):
            raise cause from None
        raise ValueEvalError(
            f"--engine ray: a worker failed: {str(error).strip().splitlines()[-1]}\n"
            "The same command goes on with the parts that are missing."
        ) from error
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """Labels parts in a process of its own.

    Args:
        parts: All parts.
        run: What they share.
        one_core: True if the process has one core.
    """

    def __init__(self, parts: Sequence[Part], run: Run, one_core: bool) -> None:
        if one_core:
            os.environ["OMP_NUM_THREADS"] = "1"
        self._parts = parts
        self._run = run
        device = "cpu" if one_core else None
        self._model = load_found(run.adapter, find_members(run.adapter), device, engine=run.engine)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Label the parts whose numbers are in a batch."""
        for place in batch["part"].tolist():
            label_part(self._parts[place], self._run, self._model)
        return batch
