"""Errors that users can correct: one or two lines, no traceback."""


class ValueEvalError(Exception):
    """An error that the user can correct: says what is wrong, where, and what to do.

    Commands print the message and exit with status 2; ``--debug`` shows the traceback.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the error's name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unreadable_cache(error: BaseException) -> str:
    """Return what to tell about an SQLite error: lm-eval's cache is the only such file."""
    return (
        f"--use_cache: that file is no cache of answers ({first_line(error)}): remove it, or name "
        "another"
    )
