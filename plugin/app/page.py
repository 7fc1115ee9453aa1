"""The page, made with Gradio: one text, two texts, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial, wraps
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from valueeval.adapters.predict.layout import Roles
from valueeval.adapters.predict.model import LabellingModel, load
from valueeval.app.answer import answer, comparison
from valueeval.app.tables import columns_of, label_table
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError

if TYPE_CHECKING:
    import gradio as gr

_INTRODUCTION = """# Which values does a text appeal to?

The model names which of Schwartz's 20 values an argument, or a text, rests on."""
_PRIVACY = (
    "<p><b>Nothing leaves this machine.</b> No text goes anywhere, and the page asks no other "
    "computer for anything. Tables that you drop here are deleted when the program ends. Only a "
    "model that you name by its hub name is fetched, once, from the Hugging Face hub.</p>"
)
_LIMITS = (
    "<p class='ve-quiet'>The models read English, learnt from short arguments, and err often. "
    "Use them for many texts together, and read some yourself. Do not use them to judge or to "
    "select persons: they say what a text appeals to, and nothing about who wrote it.</p>"
)
_STANCES = {"for": "in favor of", "against": "against"}


Load = Callable[[str], LabellingModel]


def build_page(models: Mapping[str, Callable[[], LabellingModel]]) -> gr.Blocks:
    """Return the page.

    Args:
        models: Names to choose a model from, with what loads it; the first is loaded first. Others
            can be typed, as `valueeval.load` takes them.
    """
    import gradio as gr

    @lru_cache(maxsize=2)
    def loaded(name: str) -> LabellingModel:
        return models[name]() if name in models else load(name)

    def about_model(name: str) -> str:
        model = loaded(name)
        shown = getattr(model, "_repr_html_", None)
        return escape(repr(model)) if shown is None else str(shown())

    with gr.Blocks(title="ValueEval", analytics_enabled=False, fill_width=False) as page:
        gr.Markdown(_INTRODUCTION)
        gr.HTML(_PRIVACY, padding=False)
        model = gr.Dropdown(
            list(models), value=next(iter(models)), allow_custom_value=True, label="Model",
            info="A folder, a name on the hub, or several joined by + (their mean)",
        )  # fmt: skip
        about = gr.HTML(padding=False, elem_classes="ve-about")
        with gr.Tab("One text"):
            _one_text(model, loaded)
        with gr.Tab("Two texts"):
            _two_texts(model, loaded)
        with gr.Tab("A table"):
            _a_table(model, loaded)
        gr.HTML(_LIMITS, padding=False)
        gr.on([page.load, model.change], _shown(about_model), model, about, show_progress="hidden")
    return page


def style() -> dict[str, Any]:
    """Return the look of the page, as ``Blocks.launch`` takes it: fonts of the machine alone."""
    import gradio as gr

    fonts = ["ui-sans-serif", "system-ui", "sans-serif"]
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    css = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return {"theme": theme, "css": css}


def _one_text(model: gr.Dropdown, load: Load) -> None:
    import gradio as gr

    text = gr.Textbox(
        label="Text", lines=4, placeholder="Paste a text, or the premise", max_lines=20
    )
    conclusion, stance = _what_it_argues_for()
    button = gr.Button("Show its values", variant="primary")
    shown = gr.HTML(elem_id="answer", padding=False)
    inputs = [model, text, conclusion, stance]
    gr.on([button.click, text.submit], _shown(partial(_answer, load)), inputs, shown)
    gr.Examples(
        [
            [each.premise, each.conclusion, "for" if each.stance == "in favor of" else "against"]
            for each in sorted(load_set("sample").arguments, key=lambda one: len(one.premise))[:3]
        ],
        [text, conclusion, stance],
        label="Examples (written for this project)",
    )


def _two_texts(model: gr.Dropdown, load: Load) -> None:
    import gradio as gr

    with gr.Row():
        first = gr.Textbox(label="Text A", lines=4, max_lines=20, min_width=260)
        second = gr.Textbox(label="Text B", lines=4, max_lines=20, min_width=260)
    conclusion, stance = _what_it_argues_for()
    button = gr.Button("Compare them", variant="primary")
    shown = gr.HTML(elem_id="comparison", padding=False)
    button.click(_shown(partial(_compare, load)), [model, first, second, conclusion, stance], shown)


def _what_it_argues_for() -> tuple[gr.Textbox, gr.Radio]:
    import gradio as gr

    with gr.Accordion("What it argues for or against (may be left out)", open=False):
        conclusion = gr.Textbox(label="Conclusion", placeholder="We should ban cars from towns")
        stance = gr.Radio(list(_STANCES), value="for", label="The text is")
    return conclusion, stance


def _a_table(model: gr.Dropdown, load: Load) -> None:
    import gradio as gr

    file = gr.File(
        label="Table: .csv, .tsv, .xlsx, .parquet, .jsonl (a header, one text in each row)",
        type="filepath",
    )  # fmt: skip
    with gr.Accordion("Columns (found by their names if left open)", open=False), gr.Row():
        text, conclusion, stance, by = (
            gr.Dropdown([], value=None, allow_custom_value=True, label=label, info=info)
            for label, info in (
                ("Column of texts", "or of premises"),
                ("Conclusion", "a column, or =TEXT"),
                ("Stance", "a column, or =for"),
                ("Groups", "shares for each"),
            )
        )
    for_excel = gr.Checkbox(label="Write a file that Excel opens rightly")
    button = gr.Button("Label the table", variant="primary")
    result = gr.File(label="Labelled table", visible=False, elem_id="labelled")
    shown = gr.HTML(elem_id="shares", padding=False)
    file.change(_shown(_columns), file, [text, conclusion, stance, by])
    inputs = [model, file, text, conclusion, stance, by, for_excel]

    # Gradio puts the progress where the signature has it.
    def label(
        model: str, file: str, text: str, conclusion: str, stance: str, by: str, for_excel: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[gr.File, str]:  # fmt: skip
        columns = (text, conclusion, stance, by)
        labelled, summary = _label(load(model), file, columns, for_excel, progress)
        return gr.File(value=labelled, visible=True), summary

    button.click(_shown(label), inputs, [result, shown])


def _shown(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that shows an error for people on the page."""
    import gradio as gr

    @wraps(work)
    def run(*given: Any, **more: Any) -> Any:
        try:
            return work(*given, **more)
        except ValueEvalError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    return run


def _argument(text: str | None, conclusion: str | None, stance: str) -> Argument:
    """Return what was typed; Gradio gives None for a field that nobody has touched."""
    text, conclusion = ((field or "").strip() for field in (text, conclusion))
    if not text:
        raise ValueEvalError("There is no text. Paste one first.")
    if not conclusion:
        return Argument("text", "", "", text)
    return Argument("text", conclusion, _STANCES[stance], text)


def _answer(load: Load, name: str, text: str | None, conclusion: str | None, stance: str) -> str:
    argument = _argument(text, conclusion, stance)
    return answer(load(name).label([argument]), text_alone=not argument.conclusion)


def _compare(
    load: Load,
    name: str,
    first: str | None,
    second: str | None,
    conclusion: str | None,
    stance: str,
) -> str:
    model = load(name)
    a, b = (_argument(text, conclusion, stance) for text in (first, second))
    return comparison(model.label([a]), model.label([b]))


def _columns(path: str | None) -> list[gr.Dropdown]:
    """Return the four choices of a column, for a new table."""
    import gradio as gr

    columns = [] if path is None else columns_of(path)
    return [gr.Dropdown(choices=columns, value=None) for _ in range(4)]


def _label(
    model: LabellingModel,
    path: str | None,
    columns: Sequence[str | None],
    for_excel: bool,
    progress: Callable[..., Any],
) -> tuple[str, str]:
    """Return the path of the labelled table, and its summary."""
    if path is None:
        raise ValueEvalError("There is no table. Drop one first.")
    text, conclusion, stance, by = (each or None for each in columns)
    alone = conclusion is None and stance is None
    roles = Roles(text_column=text) if alone else Roles(text, conclusion, stance)
    if by is not None and by not in columns_of(path):
        raise ValueEvalError(f"There is no column {by!r} to group by.")
    progress(0, desc="reading")
    return label_table(
        path, model, roles, by, for_excel,
        lambda done, total: progress((done, total), desc="labelling", unit="rows"),
    )  # fmt: skip
