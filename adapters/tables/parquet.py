"""Parquet, in and out, by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from valueeval.adapters.tables.rows import Record, as_text, is_missing
from valueeval.tasks.errors import ValueEvalError

_CHUNK = 1024


def open_parquet(stream: BinaryIO, name: str) -> Any:
    """Return a ``pyarrow.parquet.ParquetFile``.

    Raises:
        ValueEvalError: It is no Parquet file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise ValueEvalError(f"{name}: cannot be read as Parquet ({error}).") from error
    names = file.schema_arrow.names
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise ValueEvalError(f"{name}: column {twice!r} is there twice. Rename one.")
    return file


def read_parquet(stream: BinaryIO, name: str) -> Iterator[Record]:
    """Yield the rows of a Parquet file; memory holds a part of it.

    Raises:
        ValueEvalError: A part of it cannot be read.
    """
    import pyarrow as pa

    number = 0
    try:
        for batch in open_parquet(stream, name).iter_batches(batch_size=_CHUNK):
            for cells in batch.to_pylist():
                number += 1
                yield Record(f"row {number}", cells)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueEvalError(
            f"{name}, after row {number}: cannot be read as Parquet ({error})."
        ) from error


class ParquetWriter:
    """Writes rows to a Parquet file.

    Args:
        stream: Where to.
        columns: The columns of every row.
        kinds: Python type of a column (``int``, ``float``); the others keep the type that they have
            in ``schema``, else they are text.
        schema: The ``pyarrow.Schema`` of the table that came in, if it was Parquet.
    """

    def __init__(
        self, stream: BinaryIO, columns: Sequence[str], kinds: Mapping[str, type], schema: Any
    ) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        types = {int: pa.int64(), float: pa.float64()}
        known = {field.name: field for field in schema or ()}
        fields = []
        for column in columns:
            typed = pa.field(column, types.get(kinds.get(column, str), pa.string()))
            fields.append(typed if column in kinds else known.get(column, typed))
        self._schema = pa.schema(fields)
        self._texts = [c for c in columns if c not in known and c not in kinds]
        self._columns = tuple(columns)
        self._writer = parquet.ParquetWriter(stream, self._schema)
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: Record) -> None:
        """Write one row; columns that it lacks are null."""
        cells = {column: row.cells.get(column) for column in self._columns}
        for column in self._texts:
            cells[column] = None if is_missing(cells[column]) else as_text(cells[column])
        self._waiting.append(cells)
        if len(self._waiting) >= _CHUNK:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._flush()
        self._writer.close()

    def discard(self) -> None:
        """Let go of the stream, which is not whole."""
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
            self._waiting.clear()
