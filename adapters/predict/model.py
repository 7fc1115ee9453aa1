"""Models as people use them in Python: ``valueeval.load("runs/minilm").predict(texts)``."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from valueeval.adapters.directory.ensemble import Members, adapter_name, find_members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.engines.choose import AnyClassifier, load_with_engine
from valueeval.adapters.predict.labelling import (
    ADDED_COLUMNS,
    Labels,
    NamedValues,
    kinds_of,
    label_rows,
)
from valueeval.adapters.predict.layout import LayoutError, Roles, find_layout
from valueeval.adapters.runtime.options import parse_batch_size
from valueeval.adapters.shipped.finding import shipped_adapter
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.commands.scored import Scores, score
from valueeval.tasks.data.dataset import CV, Argument, DataSet, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES

if TYPE_CHECKING:
    import pandas as pd

    from valueeval.adapters.predict.prompted import PromptedModel

LOOKED_AT = 50
"""Rows that are looked at to see which column holds texts."""


class LabellingModel:
    """A model that labels texts with the 20 values.

    Attributes:
        name: The name that it was loaded by.
        rows_at_once: Rows that are labelled at a time; None: `valueeval.adapters.predict.labelling`
            decides.
    """

    rows_at_once: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def label(self, arguments: Sequence[Argument]) -> Labels | NamedValues:
        """Return the labels of arguments."""
        raise NotImplementedError

    def predict(
        self,
        data: pd.DataFrame | pd.Series | Iterable[Mapping[str, Any]] | Iterable[str],
        *,
        premise: str | None = None,
        conclusion: str | None = None,
        stance: str | None = None,
        stance_map: Mapping[str, str] | None = None,
        text_column: str | None = None,
        prefix: str = "",
    ) -> pd.DataFrame:
        """Return a table of arguments, or texts, with their labels added.

        Args:
            data: A DataFrame, a list of dicts, or a list (or Series) of texts, which are read alone
                unless ``conclusion`` and ``stance`` are given.
            premise: Column of the premise, or ``"=…"``: the premise of every row. Found by its
                name if it is not given; so are the next two.
            conclusion: Column of the conclusion, or ``"=…"``.
            stance: Column of the stance, or ``"=for"``.
            stance_map: Contents of the stance column → ``"pro"`` or ``"con"``.
            text_column: Column of texts to be read alone, without conclusion and stance.
            prefix: The beginning of the names of the added columns.

        Returns:
            The rows as they came, with ``values`` (names of the values that were decided on, joined
            by ``"; "``), ``problem`` (why a row has no labels, else empty), ``labelled_from``
            (``"argument"`` or ``"text alone"``), a column of 0 and 1 for each value, and a column
            ``p_…`` with its probability.

        Raises:
            ValueEvalError: It is not clear which columns hold the argument, or one of them has the
                name of an added column.
        """
        import pandas as pd

        table, is_texts = _as_table(data)
        columns = [str(column) for column in table.columns]
        if is_texts and text_column is None and premise is None:
            if conclusion is None and stance is None:
                text_column = "text"
            else:
                premise = "text"
        refuse_clash(columns, prefix, "data", "prefix=")
        rows = list(_rows(columns, table))
        try:
            roles = Roles(premise, conclusion, stance, text_column, stance_map or {})
            layout = find_layout(columns, roles, rows[:LOOKED_AT], "data")
        except LayoutError as error:  # it names the command's options
            raise LayoutError(str(error).replace("--", "")) from None
        labelled = [
            each.cells(prefix) for each in label_rows(rows, layout, self, self.rows_at_once)
        ]
        added = {}
        for column, kind in kinds_of(prefix).items():
            dtype = {int: "Int64", float: "float64", str: "object"}[kind]
            cells = [row[column] for row in labelled]
            added[column] = pd.Series(cells, index=table.index, dtype=dtype)
        return pd.concat([table, pd.DataFrame(added, index=table.index)], axis=1)

    def evaluate(self, name: str = "main", data_dir: str | None = None) -> Scores:
        """Return the scores on a set of Touché23-ValueEval, as ``lm_eval`` computes them.

        Args:
            name: ``"main"`` (the test set), ``"validation"``, ``"zhihu"``, ``"nahjalbalagha"``,
                ``"nyt"``, or ``"sample"``.
            data_dir: Folder of the official files; ``None``: where ``valueeval data`` finds them.

        Raises:
            ValueEvalError: There is no such set, its files are missing, it is set ``"cv"``, or the
                model has seen its labels.
        """
        if name == CV:
            raise ValueEvalError(
                f"{self.name}: set {CV} is evaluated fold by fold, by "
                f"`lm_eval --tasks valueeval_…_{CV}`. Name another set here."
            )
        found = load_set(name, data_dir)
        labels = self._label_set(found)
        margins = labels.margins if isinstance(labels, Labels) else None
        return score(
            found.labels, labels.decided, scores=margins, conclusions=found.conclusions,
            title=f"{self.name} on {name}",
        )  # fmt: skip

    def _label_set(self, data: DataSet) -> Labels | NamedValues:
        """Return the labels of a set's arguments; refuse a set whose labels the model has seen."""
        return self.label(data.arguments)


class Model(LabellingModel):
    """A trained model; made by `load`.

    Attributes:
        name: The name that it was loaded by.
        manifest: Its manifest: base model, training data, thresholds.
        engine: The engine that runs it: ``"torch"``, ``"onnx"`` or ``"onnx-int8"``.
    """

    def __init__(
        self, name: str, classifier: AnyClassifier, batch_size: int, engine: str = "torch"
    ) -> None:
        super().__init__(name)
        self.engine = engine
        self.manifest: Manifest = classifier.manifest
        self._classifier = classifier
        self._batch_size = batch_size

    @property
    def truncated(self) -> int:
        """Return how many texts were too long so far, and were cut."""
        return len(self._classifier.cut)

    def label(self, arguments: Sequence[Argument]) -> Labels:
        """Return the labels of arguments; one with an empty conclusion is a text alone.

        Args:
            arguments: n arguments, with conclusions and stances or all without.

        Returns:
            The same at every batch size, up to float noise (with engine ``"onnx-int8"``: up to the
            rounding to 8 bits, which depends on the batch).
        """
        logits = self._classifier.logits(arguments, self._batch_size).astype(np.float64)
        return Labels(logits, self.manifest.thresholds.logits)

    def evaluate(self, name: str = "main", data_dir: str | None = None) -> Scores:
        """Return the scores on a set; see the base class.

        Raises:
            ValueEvalError: As the base class; or the model was trained on the set.
        """
        data = self.manifest.data
        if name in data.set.split("+") or (data.protocol == CV and name in data.labels_seen):
            raise ValueEvalError(
                f"{self.name} was trained on {name}, so its scores there are worth nothing. "
                "Evaluate it on a test set."
            )
        return super().evaluate(name, data_dir)

    def _label_set(self, data: DataSet) -> Labels:
        from valueeval.adapters.harness.seen_labels import refuse_seen_set  # imports lm-eval

        refuse_seen_set(self.manifest.data, self.name, data.name, data.sha256)
        return self.label(data.arguments)

    def __repr__(self) -> str:
        base, data = self.manifest.base_model.name, self.manifest.data
        return (
            f"<Model {self.name}: {self.manifest.method} on {base}, trained on {data.name} "
            f"{data.set}>"
        )

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        data, validation = self.manifest.data, self.manifest.validation.get("macro_f1")
        rows = {
            "model": self.name,
            "base": self.manifest.base_model.name,
            "method": self.manifest.method,
            "trained on": f"{data.name} {data.set}, {data.size} arguments",
        }
        if validation is not None:  # what learnt from all labelled data has none
            rows["validation macro_f1"] = f"{validation:.3f}"
        cells = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
            for key, value in rows.items()
        )
        return f"<table>{cells}</table>"


@overload
def load(
    model: str | None = None,
    device: str | None = None,
    batch_size: int | str = "auto",
    engine: str = "auto",
) -> Model: ...


@overload
def load(
    model: str,
    device: str | None = None,
    batch_size: int | str = "auto",
    *,
    model_args: str | Mapping[str, Any],
    template: str,
    paraphrase: int = 1,
    apply_chat_template: bool = False,
    calibration: str | None = None,
) -> PromptedModel: ...


def load(
    model: str | None = None,
    device: str | None = None,
    batch_size: int | str = "auto",
    engine: str = "auto",
    *,
    model_args: str | Mapping[str, Any] | None = None,
    template: str | None = None,
    paraphrase: int = 1,
    apply_chat_template: bool = False,
    calibration: str | None = None,
) -> Model | PromptedModel:
    """Load a trained model or, with ``template``, a language model that is prompted.

    Args:
        model: An adapter directory (``"runs/minilm"``), a name on the hub (``"org/name"``,
            ``"org/name@revision"``), or several joined by ``+``, which are averaged; ``None``: the
            small adapter that ships with the package. With ``template``: a model of lm-eval
            (``"hf"``, ``"valueeval"``, ``"valueeval_chat"`` …).
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` …; ``None``: the best available.
        batch_size: Texts read at once, or ``"auto"``.
        engine: The engine of an adapter: ``"torch"``, ``"onnx"`` (ONNX Runtime, on the CPU),
            ``"onnx-int8"`` (faster, not quite the same scores), or ``"auto"`` (see
            `valueeval.adapters.engines.choose.load_with_engine`).
        model_args: Arguments of the language model: ``"pretrained=MODEL"``, or a mapping.
        template: ``"cls"``, ``"mbc"``, ``"bca"``, ``"oa"`` or ``"cot"``: how it is asked.
        paraphrase: Which wording of the template, from 1.
        apply_chat_template: True to ask in the wordings and turns of a chat.
        calibration: File of ``valueeval calibrate``, for cls and bca.

    Raises:
        ValueEvalError: It cannot be used; the message says why.
    """
    if template is None:
        if model_args is not None or calibration is not None:
            raise ValueEvalError(
                "model_args and calibration are for prompted models: name the template as well "
                f"({', '.join(TEMPLATES)})."
            )
        adapter = str(shipped_adapter() if model is None else model)
        return load_found(
            adapter,
            find_members(adapter),
            device,
            batch_size,
            engine,
            worth_exporting=model is None,
        )
    if engine != "auto":
        raise ValueEvalError(f"engine: {engine!r} is for adapters; prompted models run in lm-eval.")
    if model is None or model_args is None or template not in TEMPLATES:
        raise ValueEvalError(
            'a prompted model needs a model of lm-eval, its arguments and a template: load("hf", '
            f'model_args="pretrained=MODEL", template="bca"); templates are {", ".join(TEMPLATES)}.'
        )
    from valueeval.adapters.predict.prompted import load_prompted

    return load_prompted(
        model, model_args, template, paraphrase, apply_chat_template, calibration, device,
        batch_size,
    )  # fmt: skip


def load_found(
    name: str,
    members: Members,
    device: str | None = None,
    batch_size: int | str = "auto",
    engine: str = "auto",
    worth_exporting: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> Model:
    """Load a model whose files have been found and checked already; see `load`.

    Args:
        name: The name that it was asked for by.
        members: The adapter, or several, read and checked.
        device: As for `load`.
        batch_size: As for `load`.
        engine: As for `load`.
        worth_exporting: True if ``auto`` may export it to ONNX.
        say: Takes notes for people.
    """
    size = parse_batch_size(batch_size)
    classifier, chosen = load_with_engine(members, engine, device, worth_exporting, say)
    return Model(adapter_name(str(name)), classifier, size, chosen)


def refuse_clash(columns: Sequence[str], prefix: str, name: str, option: str) -> None:
    """Refuse a table that has a column with the name of an added one.

    Raises:
        ValueEvalError: It has.
    """
    clash = [column for column in columns if column in {prefix + added for added in ADDED_COLUMNS}]
    if clash:
        more = f" and {len(clash) - 3} more" if len(clash) > 3 else ""
        shown = ", ".join(map(repr, clash[:3])) + more
        raise ValueEvalError(
            f"{name}: {shown} {'are' if len(clash) > 1 else 'is'} there already. Name the added "
            f"columns otherwise: {option}NAME puts NAME before each."
        )


def _as_table(data: Any) -> tuple[pd.DataFrame, bool]:
    """Return data as a DataFrame, and whether it was a list of texts (column ``text`` then)."""
    import pandas as pd

    if isinstance(data, (str, bytes, Mapping)):
        raise ValueEvalError("data: give a DataFrame, a list of dicts, or a list of texts.")
    if isinstance(data, pd.DataFrame):
        twice = data.columns[data.columns.duplicated()]
        if len(twice):
            raise ValueEvalError(f"data: column {str(twice[0])!r} is there twice. Rename one.")
        return data, False
    if isinstance(data, pd.Series):
        return data.to_frame("text"), True
    rows = list(data)
    if rows and all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame.from_records([dict(row) for row in rows]), False
    return pd.DataFrame({"text": pd.Series(rows, dtype="object")}), True


def _rows(columns: Sequence[str], table: pd.DataFrame) -> Iterator[Record]:
    cells = [table.iloc[:, place].tolist() for place in range(len(columns))]
    for number, row in enumerate(zip(*cells, strict=True), start=1):
        yield Record(f"row {number}", dict(zip(columns, row, strict=True)))
