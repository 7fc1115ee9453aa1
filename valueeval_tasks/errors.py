"""The error that a person reads: one or two lines, no traceback."""


class ValueEvalError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do.

    Commands print the message and exit with status 2; ``--debug`` shows the traceback.
    """
