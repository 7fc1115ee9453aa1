"""The error that a person reads: one or two lines, no traceback."""


class ValueEvalError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do.

    Commands print the message and exit with status 2; ``--debug`` shows the traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says; the error's name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
