"""Label DataFrames that an engine hands out in parts: Spark's ``mapInPandas``, Dask, a loop.

In Spark::

    from functools import partial
    from valueeval.adapters.predict.frames import ADDED_DDL, label_frames

    labelled = table.mapInPandas(
        partial(label_frames, adapter="org/name", columns={"text_column": "post"}),
        schema="id long, post string, " + ADDED_DDL,
    )

The schema is that of the table, then `ADDED_DDL`. Each worker loads the model once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from valueeval.adapters.predict.labelling import kinds_of
from valueeval.adapters.predict.model import Model, load

if TYPE_CHECKING:
    import pandas as pd

_DDL = {str: "string", int: "int", float: "double"}
ADDED_DDL = ", ".join(f"{column} {_DDL[kind]}" for column, kind in kinds_of().items())
"""The added columns with their types, as Spark writes schemas."""


def label_frames(
    frames: Iterable[pd.DataFrame],
    adapter: str | None = None,
    columns: Mapping[str, Any] | None = None,
    engine: str = "auto",
    threads: int | None = 1,
) -> Iterator[pd.DataFrame]:
    """Yield each DataFrame with its labels added.

    Args:
        frames: DataFrames with the same columns; empty ones are left out.
        adapter: As for `valueeval.load`; None is the one that ships with the package.
        columns: Options of `Model.predict` that name columns (``premise``, ``text_column`` …).
        engine: As for `valueeval.load`.
        threads: Threads of a model that is loaded here; None leaves them as they are. A worker has
            one core by default.

    Raises:
        ValueEvalError: The model cannot be used, or its columns are unclear.
    """
    model = _loaded(adapter, engine, threads)
    for frame in frames:
        if len(frame):
            yield model.predict(frame, **(columns or {}))


@lru_cache(maxsize=1)
def _loaded(adapter: str | None, engine: str, threads: int | None) -> Model:
    """Load a model once in a process."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read by PyTorch and by our ONNX sessions
    return load(adapter, "cpu" if engine.startswith("onnx") else None, engine=engine)
