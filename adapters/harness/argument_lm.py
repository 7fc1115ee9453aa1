"""Base class of models that answer about the argument itself, not from the prompt."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import simple_parse_args_string

from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.model_names import shortened
from valueeval.tasks.harness.requests import ValueRequest, argument_of

if TYPE_CHECKING:
    from accelerate import Accelerator

ArgumentLMType = TypeVar("ArgumentLMType", bound="ArgumentLM")


class ArgumentLM(LM):
    """A model that knows a number for each argument and value, and predicts a value above 0.

    It answers the log-likelihood requests of templates cls and bca so that what the tasks compute,
    ll(name) - ll(empty) or ll(yes) - ll(no), is exactly that number d: min(0, d) for the first and
    min(0, -d) for the second. These are no probabilities of text.

    Under ``accelerate launch`` or ``torchrun`` each process answers its own share of the arguments.

    Subclasses define ``name`` and ``differences``.
    """

    name: str
    """Name of the model in lm-eval, and of the folder of its results."""

    def __init__(self, cpu: bool = False) -> None:
        super().__init__()
        self._accelerator = join_processes(cpu)
        if self._accelerator is not None:
            self._rank = self._accelerator.process_index
            self._world_size = self._accelerator.num_processes
            self._device = self._accelerator.device

    # ------------------------------------------------------------------------------ answers

    def differences(self, arguments: Sequence[Argument]) -> npt.NDArray[np.float64]:
        """Return a number for each of n distinct arguments and 20 values: (n, 20), float64."""
        raise NotImplementedError

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Answer requests of templates cls and bca; each argument is read once.

        Raises:
            ValueEvalError: A request is of another template or task.
        """
        return [
            _half(row[_value(request)], request.role)
            for request, row in self._looked_up(requests, ("cls", "bca"))
        ]

    def _looked_up(
        self, requests: Sequence[Instance], templates: tuple[str, ...]
    ) -> Iterator[tuple[ValueRequest, list[float]]]:
        """Yield each request with the 20 numbers of its argument, read once."""
        asked = [self._checked(request, templates) for request in requests]
        arguments = [argument_of(request.doc) for request in asked]
        distinct = list(dict.fromkeys(arguments))
        rows = dict(zip(distinct, self.differences(distinct).tolist(), strict=True))
        for request, argument in zip(asked, arguments, strict=True):
            yield request, rows[argument]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Refuse requests, unless a subclass generates."""
        for request in requests:
            self._checked(request, ("cls", "bca"))
        return []

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> NoReturn:
        """Refuse requests: there is no language model here."""
        raise ValueEvalError(f"{self.name} has no perplexity: use --model hf for such tasks.")

    def _checked(self, request: Instance, templates: tuple[str, ...]) -> ValueRequest:
        """Return the request if it is one of ours and of these templates."""
        if not isinstance(request, ValueRequest):
            raise ValueEvalError(
                f"{self.name} answers ValueEval tasks only, not {request.task_name}: "
                "use --model hf for other tasks."
            )
        if request.template not in templates:
            raise ValueEvalError(
                f"{self.name} cannot answer {request.task_name}: it classifies and does not "
                "generate text.\n"
                f"Use tasks valueeval_{' or valueeval_'.join(templates)}, or --model hf."
            )
        return request

    # ------------------------------------------------------------------- as lm-eval makes it

    @classmethod
    def create_from_arg_obj(
        cls: type[ArgumentLMType],
        arg_dict: dict[str, Any],
        additional_config: Mapping[str, Any] | None = None,
    ) -> ArgumentLMType:
        """Return the model that ``--model_args`` name; they win over flags of the same name.

        Sets ``path`` in ``arg_dict``, from which lm-eval takes the name of the results' folder (it
        would be random: none of our arguments is one that it knows).

        Raises:
            ValueEvalError: An argument is unknown; or as the constructor.
        """
        flags = {
            key: value for key, value in (additional_config or {}).items() if value is not None
        }
        given = {key: value for key, value in arg_dict.items() if key != "path"}
        known = inspect.signature(cls).parameters
        refuse_unknown_arguments(given, known)
        used_flags = {key: value for key, value in flags.items() if key in known}
        model = cls(**{**used_flags, **given})
        arg_dict["path"] = shortened(model.name)
        return model

    @classmethod
    def create_from_arg_string(
        cls: type[ArgumentLMType],
        arg_string: str,
        additional_config: Mapping[str, Any] | None = None,
    ) -> ArgumentLMType:
        """Return the model, as :meth:`create_from_arg_obj`, from ``"key=value,key=value"``."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def set_cache_hook(self, cache_hook: object) -> NoReturn:
        """Refuse ``--use_cache``: its keys are prompts, so two models would share their answers.

        It would save nothing either: each argument is read once.
        """
        raise ValueEvalError(
            f"{self.name}: --use_cache remembers answers by prompt alone, so another model would "
            "get this one's.\nLeave it out; each argument is read only once anyway."
        )

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Refuse ``--apply_chat_template``: no prompt is read."""
        raise ValueEvalError(
            f"{self.name} reads the argument, not a prompt: leave out --apply_chat_template."
        )

    @property
    def tokenizer_name(self) -> str:
        """Refuse it: lm-eval asks for it with a chat template only."""
        return self.chat_template()

    # --------------------------------------------------------------- data-parallel processes

    def all_gather(self, tensor: Any) -> Any:
        """Return the tensors of all processes, one after the other."""
        return tensor if self._accelerator is None else self._accelerator.gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Return the objects of all processes in process ``dst``; None in the others."""
        if self._accelerator is None:
            return [obj]
        import torch.distributed

        gathered = [None] * self.world_size if self.rank == dst else None
        torch.distributed.gather_object(obj, gathered, dst=dst)
        return gathered

    def barrier(self) -> None:
        """Wait for all processes."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


def refuse_unknown_arguments(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise an error for the first of ``--model_args`` that a model does not know."""
    names = list(known)
    for key in given:
        if key not in names:
            raise ValueEvalError(f"--model_args: no argument {key!r}; {hint(key, names)}")


def hint(given: object, known: Iterable[str]) -> str:
    """Return advice for an unknown name: the nearest known one, or all."""
    names = list(known)
    near = difflib.get_close_matches(str(given), names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."


def join_processes(cpu: bool) -> Accelerator | None:
    """Return the connection to the other processes; None if there are none."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator, InitProcessGroupKwargs

    # Processes wait for the slowest of them, however long that takes.
    patience = InitProcessGroupKwargs(timeout=timedelta(weeks=1))
    return Accelerator(cpu=cpu, kwargs_handlers=[patience])


def _value(request: ValueRequest) -> int:
    if request.value is None:
        raise ValueEvalError(f"{request.task_name}: a request of {request.template} has no value.")
    return request.value


def _half(difference: float, role: str) -> tuple[float, bool]:
    """Return the log-likelihood of one of two continuations that differ by ``difference``."""
    if role in ("name", "yes"):
        return min(0.0, difference), difference > 0
    return min(0.0, -difference), difference <= 0
