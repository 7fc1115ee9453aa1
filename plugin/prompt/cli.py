"""``valueeval prompt``: the ``lm_eval`` runs of a template, the second turn after the first."""

from __future__ import annotations

import argparse
import glob
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import ALL_TEMPLATES, SECOND_TURNS, VOTING
from valueeval.tasks.values import VALUES

_SETS = ("main", "validation", "zhihu", "nahjalbalagha", "nyt")
_DATE = r"_\d{4}-.*\.jsonl"


def main(argv: Sequence[str]) -> int:
    """Run the turns of the templates; return the exit status of the first run that fails, or 0."""
    parser = build_parser()
    arguments = parser.parse_args(list(argv))
    if arguments.print_form:
        print(json.dumps(forms(arguments.print_form), indent=2, ensure_ascii=False))
        return 0
    _check(parser, arguments)
    if arguments.estimate:
        from valueeval.prompt.estimate import estimate

        print(estimate(arguments))
        return 0
    return _run(arguments)


class _Parser(CommandParser):
    """A parser that hands the options which are not its own to lm-eval's."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all words.

        Returns:
            The options of this command; ``rest``, the words of lm-eval's; and ``lm_eval``, what
            lm-eval's parser makes of them.
        """
        arguments, rest = self.parse_known_args(args, namespace)
        from lm_eval._cli.harness import HarnessCLI

        run = HarnessCLI()._subparsers.choices["run"]
        run.allow_abbrev = False
        run.error = self.error
        words = [*_model_words(arguments), *rest]
        arguments.rest, arguments.lm_eval = rest, run.parse_args(words)
        return arguments


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``valueeval prompt``."""
    parser = _Parser(
        prog="valueeval prompt",
        description="Evaluate a language model on a template. cot2 and cot2list are the second "
        "turn of the chain of thought: both turns are run. Options of `lm_eval run` that are not "
        "listed here (--limit, --batch_size, --apply_chat_template, --use_cache …) go to each run.",
        epilog="Example: valueeval prompt --model hf --model_args pretrained=gpt2 --template cot2 "
        "--set validation --output_path results",
    )
    what = parser.add_argument_group("what is asked")
    what.add_argument(
        "--template", type=_templates, metavar="NAMES",
        help=f"one or several, by commas: {', '.join(ALL_TEMPLATES)}",
    )  # fmt: skip
    what.add_argument(
        "--paraphrase", type=int, default=1, choices=(1, 2, 3), help="wording (default: 1)"
    )
    what.add_argument(
        "--data", default="touche23", choices=("touche23", "sample"),
        help="the published data, or the small set of the package (default: touche23)",
    )  # fmt: skip
    what.add_argument("--set", default="main", choices=_SETS, help="set (default: main)")
    parser.add_data_dir()
    what.add_argument(
        "--votes", type=int, default=1, metavar="N",
        help="sampled chains of thought that vote on each argument (self-consistency)",
    )  # fmt: skip
    what.add_argument(
        "--replies", metavar="FILES",
        help="samples of valueeval_cot to ask about, in place of a first turn",
    )  # fmt: skip
    who = parser.add_argument_group("who is asked, as for lm_eval")
    who.add_argument("--model", default="hf", help="hf, valueeval, vllm, valueeval_chat …")
    who.add_argument("--model_args", nargs="+", default=[], metavar="ARG", help="pretrained=… …")
    who.add_argument(
        "--output_path", default="results", metavar="DIR",
        help="folder of results and samples (default: results)",
    )  # fmt: skip
    cost = parser.add_argument_group("without asking")
    cost.add_argument(
        "--estimate", action="store_true",
        help="print the number of requests and tokens, and with --prices the cost; send nothing",
    )  # fmt: skip
    cost.add_argument(
        "--tokenizer", metavar="NAME",
        help="tokenizer to count with (default: the model's, if it is local; else characters / 4)",
    )  # fmt: skip
    cost.add_argument(
        "--prices", type=Path, metavar="FILE",
        help="YAML file: for each model `input` and `output`, prices of a million tokens",
    )  # fmt: skip
    cost.add_argument(
        "--print_form", choices=("mbc", "oa", "cot", "cot2list"),
        help="print the form of the answers as JSON schema and as regular expression",
    )  # fmt: skip
    return parser


def forms(template: str) -> dict[str, Any]:
    """Return the form of the answers to a template: ``json_schema`` and ``regex``.

    Args:
        template: mbc, oa (by name of value), cot or cot2list.
    """
    from valueeval.adapters.servers.forms import answer_form

    def of(value: int | None) -> dict[str, Any]:
        form = answer_form(template, value)
        if form is None:
            raise ValueEvalError(f"the answers to {template} have no form")
        return {"json_schema": form.schema, "regex": form.pattern}

    if template == "oa":
        return {value.name: of(index) for index, value in enumerate(VALUES)}
    return of(None)


def task_of(template: str, arguments: argparse.Namespace) -> str:
    """Return the name of the task that asks by a template, with the options' wording and set."""
    wording = f"_p{arguments.paraphrase}" if arguments.paraphrase > 1 else ""
    name = "sample" if arguments.data == "sample" else arguments.set
    return f"valueeval_{template}{wording}" + ("" if name == "main" else f"_{name}")


def turns(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the templates of the first run and those of the second; either may be empty."""
    second = [template for template in arguments.template if template in SECOND_TURNS]
    first = [template for template in arguments.template if template not in SECOND_TURNS]
    if second and not arguments.replies and "cot" not in first:
        first.append("cot")
    return first, second


def _templates(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in ALL_TEMPLATES:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {name!r} (choose from {', '.join(ALL_TEMPLATES)})"
            )
    return names


def _model_words(arguments: argparse.Namespace) -> list[str]:
    given = ["--model_args", *arguments.model_args] if arguments.model_args else []
    return ["--model", arguments.model, *given]


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse what would fail only after answers have been paid for."""
    given = arguments.lm_eval
    if not arguments.template:
        parser.error(f"name a --template: {', '.join(ALL_TEMPLATES)}")
    if given.tasks:
        parser.error("--tasks: --template, --paraphrase, --data and --set name them; leave it out")
    if arguments.data == "sample" and arguments.set != "main":
        parser.error(f"--set {arguments.set}: --data sample has one set to test on; leave it out")
    if Path(arguments.output_path).suffix == ".json":
        parser.error(f"--output_path {arguments.output_path}: name a folder")
    second = turns(arguments)[1]
    if second and given.num_fewshot:
        parser.error(f"--num_fewshot: {second[0]} has no few-shot examples; leave it out")
    if arguments.replies and not second:
        parser.error(f"--replies goes with --template {' or '.join(SECOND_TURNS)}")
    if arguments.replies and "cot" in arguments.template:
        parser.error("--replies: in place of a first turn; leave cot out, or run it apart")
    if arguments.votes < 1:
        parser.error(f"--votes {arguments.votes}: at least 1")
    others = [template for template in arguments.template if template not in VOTING]
    if arguments.votes > 1 and others:
        parser.error(f"--votes: {others[0]} takes none, but {', '.join(VOTING)} do; run it apart")
    if arguments.votes > 1 and arguments.replies:
        parser.error("--votes: as many as --replies has; leave it out")
    if arguments.prices and not arguments.estimate:
        parser.error("--prices goes with --estimate")
    metadata = given.metadata or {}
    if ours := sorted({"replies", "votes"} & set(metadata)):
        parser.error(f"--metadata {ours[0]}: say --{ours[0]}")


def _run(arguments: argparse.Namespace) -> int:
    first, second = turns(arguments)
    replies = arguments.replies
    if first:
        folder = Path(arguments.output_path)
        task = task_of("cot", arguments)
        before = _samples(folder, task)
        metadata = {"votes": arguments.votes} if arguments.votes > 1 else {}
        status = _lm_eval(first, metadata, arguments)
        if status or not second:
            return status
        replies = replies or _replies_in(folder, task, before)
    return _lm_eval(second, {"replies": replies}, arguments)


def _replies_in(folder: Path, task: str, before: set[Path]) -> str:
    """Return the pattern of the samples that a first turn has just written.

    Raises:
        ValueEvalError: There are none, or several.
    """
    new = sorted(_samples(folder, task) - before)
    if len(new) != 1:
        raise ValueEvalError(
            f"{folder}: {len(new)} new samples files of {task}, where one was expected. Does "
            "another run write there? Go on with --replies FILE."
        )
    return glob.escape(str(new[0]))


def _samples(folder: Path, task: str) -> set[Path]:
    """Return the samples of a task that lie in a folder."""
    name = re.compile(re.escape(f"samples_{task}") + _DATE)
    return {path for path in folder.rglob("samples_*.jsonl") if name.fullmatch(path.name)}


def _lm_eval(templates: list[str], metadata: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Show a command and run it; return its exit status."""
    tasks = ",".join(task_of(template, arguments) for template in templates)
    words = [
        *("run", "--tasks", tasks, *_model_words(arguments)),
        *("--output_path", arguments.output_path, "--log_samples"),
        *chat_words(arguments),
        *arguments.rest,
        *(["--metadata", json.dumps(metadata)] if metadata else []),
    ]
    print(f"$ valueeval {shlex.join(words)}", file=sys.stderr, flush=True)
    return subprocess.call([sys.executable, "-m", "valueeval", *words])  # noqa: S603


def chat_words(arguments: argparse.Namespace) -> list[str]:
    """Return the option without which a chat server cannot be asked, unless it is given."""
    given = "apply_chat_template" in arguments.lm_eval
    return ["--apply_chat_template"] if arguments.model == "valueeval_chat" and not given else []
