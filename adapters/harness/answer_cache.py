"""Answers of ``--use_cache``: kept for each model apart, with what was cut of their prompts.

lm-eval keys its cache by prompt alone, so another model or adapter would get this one's answers;
and it does not show a model the requests that the cache answers, so a model cannot count what was
cut. So lm-eval's table stays empty here, and the model looks up answers itself, in a table of its
own in the same file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

from valueeval.adapters.harness.prompts import DistinctRequest

# lm-eval shows messages below warnings only of its own loggers. It says itself that no answer is
# from the cache (its table is empty).
_shown_logger = logging.getLogger("lm_eval.valueeval")

_EMPTY = "valueeval_empty"


class AnswerCache:
    """Answers that a model gave before.

    Args:
        cache: lm-eval's open cache (a SqliteDict).
        identity: Hash of the model and of all else that answers depend on (hex).
    """

    def __init__(self, cache: Any, identity: str) -> None:
        self._cache = cache  # which closes its connection once nothing refers to it
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
            arguments: The arguments of the request.
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
        """Write an answer: a text, a number, or a log-likelihood and whether it is greedy."""
        self._connection.execute(
            f'REPLACE INTO "{self._table}" (key, value) VALUES (?, ?)',  # noqa: S608
            (_key(kind, arguments), json.dumps([answer, cut])),
        )
        self._connection.commit(blocking=False)

    def find_all(
        self, kind: str, requests: Sequence[DistinctRequest]
    ) -> dict[int, tuple[Any, str | None]]:
        """Return cached answers, as `find`, by the place of the request; log their number.

        Where an answer about an argument is missing, none about that argument is returned: an
        argument that is too long is cut the same for all requests about it.

        Args:
            kind: lm-eval's name of the type of request.
            requests: The requests of a run.
        """
        found = {
            place: None if one.sampled else self.find(kind, one.request.args)
            for place, one in enumerate(requests)
        }
        incomplete = {
            (one.request.task_name, one.document)
            for place, one in enumerate(requests)
            if found[place] is None
        }
        known = {
            place: entry
            for place, entry in found.items()
            if entry is not None
            and (requests[place].request.task_name, requests[place].document) not in incomplete
        }
        number = sum(len(requests[place].twins) for place in known)
        total = sum(len(one.twins) for one in requests)
        _shown_logger.info("%d of %d answers are from the cache", number, total)
        return known


def _key(kind: str, arguments: Sequence[Any]) -> str:
    text = json.dumps([kind, *arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
