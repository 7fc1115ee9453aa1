"""The task class behind every ``valueeval_*.yaml``: one document is one argument."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from lm_eval.api.task import ConfigurableTask
from lm_eval.api.utils import Message, maybe_delimit, multiturn_to_singleturn
from lm_eval.filters import build_filter_ensemble

from valueeval.tasks.data.content_free import CONTENT_FREE, content_free_set
from valueeval.tasks.data.dataset import CV, Argument, DataSet, load_set
from valueeval.tasks.data.folds import CV_FOLDS, folds_of, inner_fold, part_of
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness import fewshot
from valueeval.tasks.harness.closing_lines import noting
from valueeval.tasks.harness.requests import ValueRequest, document_of
from valueeval.tasks.scores import scoring
from valueeval.tasks.scores.calibration import Origin
from valueeval.tasks.templates import decide
from valueeval.tasks.templates.wording import Wording
from valueeval.tasks.values import VALUE_NAMES, VALUES

_OWN_KEYS = (
    *("version", "template", "paraphrase", "question", "empty_argument", "chat", "follow_up"),
    "provenance",
)
_REQUIRED_KEYS = ("version", "template", "paraphrase", "question", "doc_to_text", "test_split")
_CHAT_KEYS = {"description", "question"}

# Keys of the configuration that a request also depends on.
_PROMPT_KEYS = (
    *("description", "doc_to_text", "target_delimiter", "fewshot_delimiter"),
    *("generation_kwargs", "repeats"),
)

# What a chat template makes of these turns tells it from others.
_CONVERSATION = [
    {"role": role, "content": role} for role in ("system", "user", "assistant", "user")
]

# The answers that the few-shot examples of templates about one value alternate between.
_FEWSHOT_ANSWERS = {"cls": (True,), "bca": (True, False), "oa": (True, False)}

# How chains of thought are sampled for a vote: as Wang et al. (2022) sampled their largest models.
_SAMPLING = {"do_sample": True, "temperature": 0.7}

# lm-eval's models of chat servers, which raise an error of their own when answers are to be scored.
_CHAT_SERVERS = (
    ("lm_eval.models.openai_completions", "LocalChatCompletion"),
    ("lm_eval.models.anthropic_llms", "AnthropicChat"),
)


class ValueEvalTask(ConfigurableTask):
    """One template with one wording on one set.

    Beside lm-eval's keys the YAML file has our own (``_base_yaml`` explains them): ``version``,
    ``template``, ``paraphrase``, ``question``, ``empty_argument``, ``chat``, ``provenance``. They
    are written to the results as ``configs.<task>.metadata``, with the set's name and hash, and
    ``wording``: ``"chat"`` if ``--apply_chat_template`` was given, else ``"plain"``. lm-eval mixes
    --model_args and --metadata into that field; ours go on top, so none of them can alter ours.

    ``test_split`` names one of our sets, ``fewshot_split`` the one that examples are taken from.

    ``--metadata '{"votes": 5}'`` has cot decide by a vote over so many sampled answers
    (self-consistency; Wang et al., 2022): the share of votes is the score.

    On set ``cv`` documents name their ``fold``, few-shot examples come from the three folds that a
    model for this fold is trained on, and ``--metadata '{"fold": 0}'`` reads one fold alone.

    Raises:
        ValueEvalError: the YAML file is wrong, or the data are not there or malformed.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        download_mode: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        # data_dir, cache_dir and download_mode belong to the signature of lm-eval's tasks.
        config = dict(config or {})
        config.pop("class", None)
        _check_keys(config)
        own = {key: config.pop(key) for key in _OWN_KEYS if key in config}
        metric_list = config.pop("metric_list", None) or []

        self.template: str = own["template"]
        self._asks = decide.ASKS[self.template]
        self._wording = compile_wording(config, own, {})
        self._chat_wording = compile_wording(config, own, own.get("chat") or {})
        self._data_dir: str | None = (config.get("metadata") or {}).get("data_dir", data_dir)
        self._fewshot_seed = 0
        self._openings: dict[tuple[int, str | None, bool, int | None], list[Message]] = {}
        self._votes = _votes(config, self.template)
        self._fold = _fold(config)

        super().__init__(config={**config, "metric_list": []})
        if self._samples:
            self.config.repeats = self._votes
            self.config.generation_kwargs = {**self.config.generation_kwargs, **_SAMPLING}
            self._filters = [build_filter_ensemble("none", [["take_first_k", {"k": self._votes}]])]

        self.VERSION = own["version"]
        self._set_metrics(metric_list)
        self._identity = self._provenance(own)
        self.config.metadata = {**(self.config.metadata or {}), **self._identity}
        for wording in (self._wording, self._chat_wording):
            self._turns(self.task_docs[0], wording)  # an unknown variable is told at once

    def _set_metrics(self, metric_list: Sequence[Mapping[str, Any]]) -> None:
        """Set up every metric of ``scoring.METRICS``; the YAML file lists the main ones.

        Set here because lm-eval would look up unknown names on the hub, and would dump
        aggregations as source code.
        """
        better = {name: name.startswith("f1_") or None for name in scoring.METRICS}
        better.update({entry["metric"]: entry["higher_is_better"] for entry in metric_list})
        if set(better) != set(scoring.METRICS):
            unknown = ", ".join(sorted(set(better) - set(scoring.METRICS)))
            raise ValueEvalError(f"metric_list of task {self.config.task}: no metric {unknown}")
        self._metric_fn_list = dict.fromkeys(scoring.METRICS)
        self._metric_fn_kwargs: dict[str, dict[str, Any]] = {name: {} for name in scoring.METRICS}
        conclusions = {each.id: each.conclusion for each in self._data.arguments}
        self._aggregation_list = noting(self.config.task, scoring.AGGREGATIONS, conclusions)
        self._higher_is_better = better
        self.config.metric_list = [
            {
                "metric": name,
                "aggregation": f"valueeval.tasks.scores.scoring.AGGREGATIONS[{name!r}]",
                "higher_is_better": better[name],
            }
            for name in scoring.METRICS
        ]

    def _provenance(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return what identifies the task in results files, from our keys of the YAML file."""
        own = dict(own)
        provenance = own.pop("provenance", {})
        sample = self._data.name.startswith("sample")
        if not (sample or self._data.official):
            # The user's own folder: what the YAML file says of the published files is not true.
            provenance = {**provenance, "data": None, "licence": None, "citation": None}
        return {
            **provenance,
            **own,
            "wording": "plain",
            "set": self._data.name,
            "sample": sample,
            "data_sha256": self._data.sha256,
            "data_official": self._data.official,
            **({"votes": self._votes} if self._votes > 1 else {}),
            **({} if self._fold is None else {"fold": self._fold}),
        }

    @property
    def _samples(self) -> bool:
        """Tell whether several answers are drawn to each prompt."""
        return self._votes > 1 and self.template == "cot"

    # --------------------------------------------------------------------------------- data

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Read the set from disk (nothing is downloaded here: ``valueeval data fetch`` does)."""
        if self.config.test_split == CONTENT_FREE:
            self._data = content_free_set()
        else:
            self._data = load_set(self.config.test_split, self._data_dir)
        folds = None
        if self.config.test_split == CV:
            folds = folds_of(self._data, CV_FOLDS)
            if self._fold is not None:
                chosen = folds == self._fold
                self._data, folds = part_of(self._data, chosen), folds[chosen]
        self.dataset = {self.config.test_split: _as_dataset(self._data, folds)}

    @cached_property
    def _pool(self) -> DataSet:
        """Load the set that few-shot examples come from."""
        return load_set(self.config.fewshot_split, self._data_dir)

    def _pool_for(self, fold: int | None) -> DataSet:
        """Return what examples for a fold may come from: of set ``cv``, what is trained on."""
        if fold is None:
            return self._pool
        folds = folds_of(self._pool, CV_FOLDS)
        return part_of(self._pool, (folds != fold) & (folds != inner_fold(fold)))

    def fewshot_docs(self) -> None:
        """Return nothing for lm-eval's own samplers: examples are loaded when one is needed."""

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """Set the seed of the examples, which depend on it and their number alone; None is 0."""
        self._fewshot_seed = seed or 0
        self._openings.clear()

    # ------------------------------------------------------------------------------ prompts

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: object = None) -> str:
        """Return the argument without the question."""
        return self._wording.argument(doc)

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: object = None) -> str:
        """Return the right answer as samples files show it: the names of the argument's values."""
        return "; ".join(VALUE_NAMES[v] for v, held in enumerate(doc["labels"]) if held)

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[[list[dict[str, str]]], str] | None = None,
        gen_prefix: str | None = None,
    ) -> list[str]:
        """Return the prompts about one argument, which share their beginning up to the question.

        Instruction, examples, argument, question. With a chat template all of it is said by the
        user, since some models know no system role: instruction and question in the words of the
        YAML file's ``chat``, each example a turn of its own. ``system_instruction`` comes first.

        Returns:
            One prompt for each index that ``Ask.prompt`` takes in this template.
        """
        chat = apply_chat_template and chat_template is not None
        prompts = []
        for messages in self._conversations(doc, num_fewshot, system_instruction, chat):
            if chat_template is None or not chat:
                prompts.append("".join(message.to_text() for message in messages))
            elif fewshot_as_multiturn:
                prompts.append(chat_template([message.to_dict() for message in messages]))
            else:
                prompts.append(chat_template(multiturn_to_singleturn(messages)))
        return prompts

    def _conversations(
        self, doc: Mapping[str, Any], num_fewshot: int, system_instruction: str | None, chat: bool
    ) -> list[list[Message]]:
        """Return the messages of each prompt about one argument."""
        wording = self._chat_wording if chat else self._wording
        opening = self._opening(num_fewshot, system_instruction, chat, doc.get("fold"))
        before = f"{wording.description}\n\n" if chat and num_fewshot == 0 else ""
        return [[*opening, Message("user", before + turn)] for turn in self._turns(doc, wording)]

    def _turns(self, doc: Mapping[str, Any], wording: Wording) -> list[str]:
        """Return argument and question of each prompt."""
        if self.template == "cls":
            return [wording.turn(doc), wording.empty_turn]
        return wording.turns(doc, tuple(dict.fromkeys(ask.value for ask in self._asks)))

    def _opening(
        self, num_fewshot: int, system_instruction: str | None, chat: bool, fold: int | None
    ) -> list[Message]:
        """Return what comes before the argument, the same for every argument of a run (or fold).

        In a chat without examples the instruction is not part of it.
        """
        key = (num_fewshot, system_instruction, chat, fold if num_fewshot else None)
        if key not in self._openings:
            wording = self._chat_wording if chat else self._wording
            delimiter = self.config.fewshot_delimiter
            instruction = system_instruction
            if not chat:
                instruction = maybe_delimit(system_instruction, wording.description, delimiter)
            messages = [Message("system", instruction, delimiter)] if instruction else []
            for place, (question, answer) in enumerate(self._examples(num_fewshot, wording, fold)):
                if chat and place == 0:
                    question = f"{wording.description}\n\n{question}"
                messages.append(Message("user", question, self.config.target_delimiter))
                messages.append(Message("assistant", answer, delimiter))
            self._openings[key] = messages
        return self._openings[key]

    def _examples(self, n: int, wording: Wording, fold: int | None) -> list[tuple[str, str]]:
        """Return few-shot examples: the user's turn, the right answer in the template's format."""
        if n == 0:
            return []
        pool, seed = self._pool_for(fold), self._fewshot_seed
        answers = _FEWSHOT_ANSWERS.get(self.template)
        if answers is None:
            chosen = fewshot.pick_arguments(pool.labels, pool.conclusions, n, seed)
        else:
            chosen = fewshot.pick_pairs(pool.labels, pool.conclusions, n, seed, answers)
        examples = []
        for index, value in chosen:
            answer = decide.gold(self.template, pool.labels[index].astype(int).tolist(), value)
            # cls asks about all values, though each example shows one of them
            about = None if self.template == "cls" else value
            examples.append((wording.turn(document_of(pool.arguments[index]), about), answer))
        return examples

    # ----------------------------------------------------------------------------- requests

    def construct_requests(
        self,
        doc: dict[str, Any],
        ctx: list[str],
        metadata: tuple[str, int, int] | None = None,
        apply_chat_template: bool = False,
        chat_template: Callable[..., str] | None = None,
    ) -> list[ValueRequest]:
        """Return the requests about one argument, in the order of ``decide.ASKS``."""
        # After a chat template an answer begins a turn: no blank before it (as lm-eval does).
        delimiter = "" if apply_chat_template else self.config.target_delimiter
        around_premise = self._wording.around_premise(doc)
        origin = Origin(
            template=self.template,
            paraphrase=self._identity["paraphrase"],
            wording="chat" if apply_chat_template else "plain",
            shots=self.config.num_fewshot or 0,
            set=self._data.name,
            data_sha256=self._data.sha256,
        )
        return [
            ValueRequest(
                request_type=self.OUTPUT_TYPE,
                doc=doc,
                arguments=(
                    ctx[ask.prompt],
                    deepcopy(self.config.generation_kwargs)
                    if ask.continuation is None
                    else f"{delimiter}{ask.continuation}",
                ),
                idx=idx,
                metadata=metadata or (None, None, None),
                template=self.template,
                value=ask.value,
                role=ask.role,
                around_premise=around_premise,
                delimiter=delimiter,
                origin=origin,
            )
            for idx, ask in enumerate(self._asks)
        ]

    def build_all_requests(self, *, tokenizer_name: str = "", **kwargs: Any) -> None:
        """Build requests as lm-eval does; the cache key also covers wording, data, seed, template.

        Raises:
            ValueEvalError: The votes would all be the same, as answers are not sampled; or log-
                likelihoods are needed, and the model, one of lm-eval's, gives none.
        """
        if self.OUTPUT_TYPE == "loglikelihood":
            self._refuse_chat_server(kwargs.get("chat_template"))
        settings = self.config.generation_kwargs or {}
        if self._samples and not (settings.get("do_sample") and settings.get("temperature")):
            raise ValueEvalError(
                f"{self.config.task}: {self._votes} votes need answers that are sampled: give "
                "--gen_kwargs a temperature above 0, or leave it out."
            )
        wording = "chat" if kwargs.get("apply_chat_template") else "plain"
        self._identity["wording"] = wording
        self.config.metadata["wording"] = wording
        super().build_all_requests(
            tokenizer_name=f"{tokenizer_name}-{self._fingerprint(kwargs)}", **kwargs
        )

    def _refuse_chat_server(self, chat_template: object) -> None:
        """Raise an error if the chat template is that of a chat server, before anything is sent."""
        model = getattr(chat_template, "__self__", None)
        for module, name in _CHAT_SERVERS:
            if module in sys.modules and isinstance(model, getattr(sys.modules[module], name)):
                raise ValueEvalError(
                    f"{self.config.task} needs log-likelihoods, which chat servers do not give.\n"
                    "Ask valueeval_mbc, valueeval_oa, valueeval_cot or valueeval_cot2list; or ask "
                    "valueeval_bca by --model valueeval_chat --model_args …,top_logprobs=20."
                )

    def _fingerprint(self, given: Mapping[str, Any]) -> str:
        """Return a hash of what a request depends on beyond lm-eval's own cache key.

        Args:
            given: The arguments of `build_all_requests`.
        """
        chat_template = given.get("chat_template")
        parts = [
            self._identity,
            *(getattr(self.config, key) for key in _PROMPT_KEYS),
            VALUES,
            given.get("samples"),
            (self._pool.sha256, self._fewshot_seed) if self.config.num_fewshot else None,
        ]
        if chat_template is not None:  # lm-eval's key has the tokenizer's name, not its template
            system = [_CONVERSATION[0]] if given.get("system_instruction") else []
            parts.append(chat_template([*system, *_CONVERSATION[1:]]))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    # ------------------------------------------------------------------------------ results

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Return metric → entry of one argument, from the answers to its requests.

        Under ``--predict_only`` there is no metric; the sample then carries the decision and the
        template, so that ``valueeval score --samples`` can score it later.
        """
        entries = decide.entries(doc, decide.decide(self.template, results))
        if "bypass" in self._metric_fn_list:
            return {"bypass": {"template": self.template, **entries["macro_f1"]}}
        return entries


def _check_keys(config: Mapping[str, Any]) -> None:
    """Refuse a YAML file that lacks one of our keys or names a template that does not exist."""
    missing = [key for key in _REQUIRED_KEYS if key not in config]
    if missing:
        raise ValueEvalError(f"task {config.get('task')}: the YAML file lacks {', '.join(missing)}")
    if config["template"] not in decide.ALL_TEMPLATES:
        raise ValueEvalError(
            f"task {config.get('task')}: no template {config['template']!r}; "
            f"there are {', '.join(decide.ALL_TEMPLATES)}"
        )


def _votes(config: Mapping[str, Any], template: str) -> int:
    """Return the number of votes that ``--metadata`` asks for; 1 is a single answer."""
    votes = (config.get("metadata") or {}).get("votes", 1)
    if isinstance(votes, bool) or not isinstance(votes, int) or votes < 1:
        raise ValueEvalError(
            f"--metadata: votes must be a whole number from 1 on, not {clean(votes)}"
        )
    if votes > 1 and template not in decide.VOTING:
        raise ValueEvalError(
            f"{config.get('task')} takes no votes: self-consistency is over chains of thought, "
            "valueeval_cot, _cot2 and _cot2list."
        )
    return votes


def _fold(config: Mapping[str, Any]) -> int | None:
    """Return the fold that ``--metadata`` asks for; None for the whole set."""
    fold = (config.get("metadata") or {}).get("fold")
    if fold is None:
        return None
    if config["test_split"] != CV:
        raise ValueEvalError(
            f"--metadata: fold goes with the tasks of set {CV} (valueeval_cls_{CV}, …) only; "
            f"{config.get('task')} has no folds."
        )
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < CV_FOLDS:
        raise ValueEvalError(
            f"--metadata: fold must be a whole number from 0 to {CV_FOLDS - 1}, not {clean(fold)}"
        )
    return fold


def compile_wording(
    config: Mapping[str, Any], own: Mapping[str, Any], changes: Mapping[str, str]
) -> Wording:
    """Return the wording of a YAML file, with other words for some of its parts."""
    if unknown := sorted(set(changes) - _CHAT_KEYS):
        raise ValueEvalError(
            f"task {config.get('task')}: `chat` has no key {', '.join(unknown)}; there are "
            f"{', '.join(sorted(_CHAT_KEYS))}"
        )
    return Wording(
        changes.get("description", config.get("description", "")),
        config["doc_to_text"],
        changes.get("question", own["question"]),
        own.get("empty_argument"),
    )


def _as_dataset(data: DataSet, folds: npt.NDArray[np.int64] | None) -> datasets.Dataset:
    """Return the documents: id, conclusion, stance, premise, labels (20 ints), fold if given."""
    documents = [document_of(argument) for argument in data.arguments]
    columns: dict[str, list[Any]] = {
        field.name: [document[field.name] for document in documents] for field in fields(Argument)
    }
    columns["labels"] = data.labels.astype(int).tolist()
    if folds is not None:
        columns["fold"] = folds.tolist()
    return datasets.Dataset.from_dict(columns)
