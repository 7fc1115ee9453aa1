"""Answers of ``--use_cache``: kept for each model apart, with what was cut of their prompts.

lm-eval keys its cache by prompt alone, so another model or adapter gets this one's answers; and it
does not ask a model what has been answered, so that no model can count what it has cut. Here its
table stays empty; the model looks up answers itself, in a table of its own in the same file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.harness.documents import document_key, is_sampled

# lm-eval shows what is no warning only if it comes from a logger of its own. It says itself that no
# answer is from the cache (its table is empty).
_shown_logger = logging.getLogger("lm_eval.valueeval")

_EMPTY = "valueeval_empty"


class AnswerCache:
    """What a model has answered before.

    Args:
        cache: lm-eval's open cache (a SqliteDict).
        identity: What identifies the model and all else that answers depend on (hex).
    """

    def __init__(self, cache: Any, identity: str) -> None:
        self._connection = cache.conn
        self._table = f"valueeval_{identity[:32]}_json"
        self._make(self._table, "TEXT")
        self._make(_EMPTY, "BLOB")
        self._connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS {_EMPTY}_stays BEFORE INSERT ON {_EMPTY} "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
        cache.tablename = _EMPTY
        self._connection.commit()

    def _make(self, table: str, kind: str) -> None:
        self._connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{table}" (key TEXT PRIMARY KEY, value {kind})'
        )

    def find(self, kind: str, arguments: Sequence[Any]) -> tuple[Any, str | None] | None:
        """Return the cached answer and what was cut of its prompt; None if there is none.

        Args:
            kind: lm-eval's name of the type of request.
            arguments: The request's.
        """
        found = self._connection.select_one(
            f'SELECT value FROM "{self._table}" WHERE key = ?',  # noqa: S608
            (_key(kind, arguments),),
        )
        if found is None:
            return None
        answer, cut = json.loads(found[0])
        return (tuple(answer) if isinstance(answer, list) else answer), cut

    def keep(self, kind: str, arguments: Sequence[Any], answer: Any, cut: str | None) -> None:
        """Writes an answer: a text, a number, or a log-likelihood and whether it is greedy."""
        self._connection.execute(
            f'REPLACE INTO "{self._table}" (key, value) VALUES (?, ?)',  # noqa: S608
            (_key(kind, arguments), json.dumps([answer, cut])),
        )
        self._connection.commit(blocking=False)

    def find_all(
        self, kind: str, requests: Sequence[Instance], same: Mapping[int, list[int]]
    ) -> dict[int, tuple[Any, str | None]]:
        """Answers to the requests of a run, as `find`, by place; says how many there are.

        Of an argument about which any answer is missing, none is given.

        Args:
            kind: lm-eval's name of the type of request.
            requests: All of the run.
            same: The first of those that ask the same → all of them (their places).
        """
        found = {
            index: self.find(kind, requests[index].args)
            for index in same
            if not is_sampled(requests[index])
        }
        # Where it must be cut, an argument is cut the same for all that is asked about it.
        partly = {_document(requests[index]) for index in same if found.get(index) is None}
        known = {
            index: entry
            for index, entry in found.items()
            if entry is not None and _document(requests[index]) not in partly
        }
        number = sum(len(same[index]) for index in known)
        _shown_logger.info("%d of %d answers are from the cache", number, len(requests))
        return known


def _document(request: Instance) -> tuple[Any, Any]:
    return request.task_name, document_key(request)


def _key(kind: str, arguments: Sequence[Any]) -> str:
    text = json.dumps([kind, *arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
