"""Reading Touché23-ValueEval, any folder in its format, and the sample set of this package.

The format is that of the published files: UTF-8, one argument per line, fields separated by tabs,
**no quoting** (a ``"`` is a plain character), and a header line that names the columns.

Accepted: columns in any order, found by their names; the rows of the labels file in any order,
joined by argument id; a last line without a newline; arguments without any label; spaces at the
ends of a text, which are kept.

Refused, with file, line and field: a byte order mark, Windows line ends, invalid UTF-8, control
characters, missing, unknown or doubled columns, lines with too few or too many tabs, empty lines,
an empty id, conclusion or premise, a stance other than the two official spellings, a label other
than 0 and 1, duplicate ids, ids that are in one file only, a file without arguments.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.official import (
    EARLIER_RECORD,
    EARLIER_SHA256,
    NYT_DOWNLOADER,
    OFFICIAL_SHA256,
)
from valueeval.tasks.data.tsv import malformed, parse_table, read_bytes, shown
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

#: A set's name → what stands in the names of its two files.
FILE_SUFFIXES: dict[str, str] = {
    "training": "training",
    "validation": "validation",
    "main": "test",
    "zhihu": "validation-zhihu",
    "nahjalbalagha": "test-nahjalbalagha",
    "nyt": "test-nyt",
    "sample_training": "sample-training",
    "sample_validation": "sample-validation",
    "sample": "sample-test",
}
SETS = tuple(FILE_SUFFIXES)

CV = "cv"
"""Name of the set of the cross-validation protocol: all labelled arguments of `CV_PARTS`."""
CV_PARTS = ("training", "validation", "zhihu", "main")

STANCE_WORDS: dict[str, str] = {"in favor of": "for", "against": "against"}

ARGUMENT_COLUMNS = ("Argument ID", "Conclusion", "Stance", "Premise")
LABEL_COLUMNS = ("Argument ID", *VALUE_NAMES)

DATA_VARIABLE = "VALUEEVAL_DATA"
CACHE_VARIABLE = "VALUEEVAL_CACHE"

_PACKAGE = Path(__file__).resolve().parents[1]
_BINARY = frozenset({"0", "1"})


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, its texts exactly as in the file.

    Attributes:
        id: Identifier, unique in its set, e.g. ``"A01002"``.
        conclusion: What is argued about; empty for a text that stands alone.
        stance: ``"in favor of"`` or ``"against"`` the conclusion.
        premise: The reason given for that stance, or the text.
    """

    id: str
    conclusion: str
    stance: str
    premise: str

    @property
    def group(self) -> str:
        """Return the conclusion, or the premise of a text that stands alone."""
        return self.conclusion or self.premise


@dataclass(frozen=True, eq=False)
class DataSet:
    """Arguments with their labels.

    Attributes:
        name: One of `SETS`, or `CV`; the names of several sets taken together are joined by ``+``.
        arguments: n arguments in the order of their file.
        labels: (n, 20) bool; row i belongs to ``arguments[i]``, columns in the order of `VALUES`.
        sha256: Hex digest of the bytes of the arguments file followed by those of the labels file;
            the digests of several sets are joined by ``+``.
        directory: The folder that the files were read from.
        official: True if both files are, byte for byte, those published.
    """

    name: str
    arguments: tuple[Argument, ...]
    labels: npt.NDArray[np.bool_]
    sha256: str
    directory: Path
    official: bool

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the n argument ids."""
        return tuple(argument.id for argument in self.arguments)

    @property
    def conclusions(self) -> tuple[str, ...]:
        """Return the n conclusions; a text that stands alone has an empty one."""
        return tuple(argument.conclusion for argument in self.arguments)

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the group of each of the n arguments; those that share one are not independent."""
        return tuple(argument.group for argument in self.arguments)


def file_names(name: str) -> tuple[str, str]:
    """Return the names of the arguments file and the labels file of set ``name``.

    Raises:
        ValueEvalError: There is no such set; the message suggests similar names.
    """
    if name not in FILE_SUFFIXES:
        by_suffix = [known for known, suffix in FILE_SUFFIXES.items() if suffix == name]
        near = by_suffix or difflib.get_close_matches(name, SETS, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        known = ", ".join((*SETS, CV))
        raise ValueEvalError(f"No data set is called {name!r}.{hint} Known: {known}.")
    suffix = FILE_SUFFIXES[name]
    return f"arguments-{suffix}.tsv", f"labels-{suffix}.tsv"


def cache_dir(cache: str | Path | None = None) -> Path:
    """Return the folder that ``valueeval data fetch`` fills (it need not exist).

    It is ``touche23-valueeval`` in ``cache``, else in ``$VALUEEVAL_CACHE``, else in
    ``$XDG_CACHE_HOME/valueeval``, else in ``~/.cache/valueeval``.
    """
    chosen = cache or os.environ.get(CACHE_VARIABLE)
    if chosen:
        root = _expanded(chosen)
    else:
        # The XDG specification tells programs to ignore relative paths.
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        root = (xdg if xdg.is_absolute() else _expanded("~/.cache")) / "valueeval"
    return root / "touche23-valueeval"


def find_data_dir(data_dir: str | Path | None = None) -> Path:
    """Return the folder of the official files (or of others in their format).

    It is ``data_dir``; else ``$VALUEEVAL_DATA``; else the cache of ``valueeval data fetch``. A
    folder that is named must hold data: the next place is not tried instead. An empty name counts
    as none.

    Raises:
        ValueEvalError: The named folder does not exist or holds no arguments file, or none is
            named and the cache is empty.
    """
    if data_dir is not None and str(data_dir):
        return _checked_folder(_expanded(data_dir), "data_dir")
    if variable := os.environ.get(DATA_VARIABLE):
        return _checked_folder(_expanded(variable), DATA_VARIABLE)
    cache = cache_dir()
    if _holds_arguments(cache):
        return cache
    raise ValueEvalError(
        f"No data found. Name the folder of the official files as data_dir, or set "
        f"{DATA_VARIABLE} to it, or run `valueeval data fetch` (fills {cache}).\n"
        "Tasks whose names end in _sample need no data: their small set is in the package."
    )


def load_set(name: str, data_dir: str | Path | None = None) -> DataSet:
    """Read one set: its arguments, joined with its labels by id.

    Args:
        name: One of `SETS`, or `CV`. ``sample``, ``sample_training`` and ``sample_validation`` come
            from this package, whatever ``data_dir`` says.
        data_dir: Folder of the files; ``None`` means where `find_data_dir` finds it.

    Raises:
        ValueEvalError: Unknown set, no data, a file that is missing or malformed, ids that are not
            the same in both files, or occur in two sets that are read together.
    """
    if name == CV:
        return _one_set(CV, [load_set(part, data_dir) for part in CV_PARTS])
    names = file_names(name)
    folder = _PACKAGE if name.startswith("sample") else find_data_dir(data_dir)
    arguments_path, labels_path = folder / names[0], folder / names[1]
    for path in (arguments_path, labels_path):
        if not os.path.isfile(path):
            raise ValueEvalError(_missing_file(path))
    arguments_bytes, labels_bytes = read_bytes(arguments_path), read_bytes(labels_path)
    arguments = tuple(_parse_arguments(arguments_bytes, arguments_path))
    _, label_rows = parse_table(labels_bytes, labels_path, LABEL_COLUMNS)
    label_ids, labels = collect_labels(label_rows, labels_path)
    return DataSet(
        name=name,
        arguments=arguments,
        labels=_join(arguments, arguments_path, label_ids, labels, labels_path),
        sha256=hashlib.sha256(arguments_bytes + labels_bytes).hexdigest(),
        directory=folder,
        official=all(
            hashlib.sha256(content).hexdigest() == OFFICIAL_SHA256.get(file)
            for file, content in zip(names, (arguments_bytes, labels_bytes), strict=True)
        ),
    )


def joined(*sets: DataSet) -> DataSet:
    """Return several sets as one; their names and hashes are joined by ``+``."""
    return DataSet(
        name="+".join(part.name for part in sets),
        arguments=tuple(argument for part in sets for argument in part.arguments),
        labels=np.concatenate([part.labels for part in sets]),
        sha256="+".join(part.sha256 for part in sets),
        directory=sets[0].directory,
        official=all(part.official for part in sets),
    )


def _one_set(name: str, parts: Sequence[DataSet]) -> DataSet:
    """Return several sets as one with a name of its own.

    Raises:
        ValueEvalError: An argument id occurs twice.
    """
    ids = Counter(id for part in parts for id in part.ids)
    if twice := [id for id, number in ids.items() if number > 1]:
        names = ", ".join(part.name for part in parts)
        raise ValueEvalError(
            f"{parts[0].directory}: set {name} joins {names}, but these ids occur in more than one "
            f"place: {_few(twice)}. Give each argument an id of its own."
        )
    return replace(joined(*parts), name=name)


def iter_arguments(path: str | Path) -> Iterator[Argument]:
    """Yield the arguments of a file one at a time.

    Raises:
        ValueEvalError: The file cannot be read or is malformed (see the module's docstring).
    """
    path = Path(path)
    return _parse_arguments(read_bytes(path), path)


def read_arguments(path: str | Path) -> tuple[Argument, ...]:
    """Read an arguments file.

    Raises:
        ValueEvalError: The file cannot be read or is malformed (see the module's docstring).
    """
    return tuple(iter_arguments(path))


def read_labels(path: str | Path) -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    """Read a labels file.

    Returns:
        The n argument ids, and labels of shape (n, 20), bool, columns in the order of `VALUES`
        whatever the order of the file's columns.

    Raises:
        ValueEvalError: The file cannot be read or is malformed (see the module's docstring).
    """
    path = Path(path)
    _, rows = parse_table(read_bytes(path), path, LABEL_COLUMNS)
    return collect_labels(rows, path)


def collect_labels(
    rows: Iterable[Sequence[str]], path: Path
) -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    """Return the ids and labels in rows of a labels table.

    Args:
        rows: Rows with the fields `LABEL_COLUMNS`, from the file's second line on.
        path: The file, for messages.

    Raises:
        ValueEvalError: A label is neither 0 nor 1.
    """
    ids = []
    ones_and_zeros = bytearray()
    for line, (id, *labels) in enumerate(rows, start=2):
        if not _BINARY.issuperset(labels):
            index, label = next((i, x) for i, x in enumerate(labels) if x not in _BINARY)
            raise malformed(
                path, line, VALUE_NAMES[index], f"{shown(label)} is not a label; write 0 or 1"
            )
        ids.append(id)
        ones_and_zeros += "".join(labels).encode("ascii")
    labels_array = np.frombuffer(ones_and_zeros, dtype=np.uint8) == ord("1")
    return tuple(ids), labels_array.reshape(len(ids), len(VALUE_NAMES))


# os.path where pathlib would raise: for an unknown user, or a folder that may not be entered.


def _expanded(path: str | Path) -> Path:
    return Path(os.path.expanduser(path))


def _holds_arguments(folder: Path) -> bool:
    return any(
        os.path.isfile(folder / f"arguments-{suffix}.tsv") for suffix in FILE_SUFFIXES.values()
    )


def _checked_folder(folder: Path, named_by: str) -> Path:
    if not os.path.isdir(folder):
        exists = os.path.exists(folder)
        problem = "is no folder" if exists else "does not exist or may not be entered"
        raise ValueEvalError(
            f"{named_by} = {folder}: this path {problem}. Name the folder that holds "
            "arguments-test.tsv and the other files."
        )
    if not _holds_arguments(folder):
        raise ValueEvalError(
            f"{named_by} = {folder}: there is no arguments-….tsv in this folder. Name the folder "
            "that holds arguments-test.tsv and the other files."
        )
    return folder


def _missing_file(path: Path) -> str:
    if path.name == "arguments-test-nyt.tsv":
        remedy = (
            "The New York Times text is not distributed; rebuild it with the organisers' "
            f"downloader ({NYT_DOWNLOADER}) and put it there."
        )
    elif path.name in OFFICIAL_SHA256:
        remedy = (
            "`valueeval data fetch` downloads the published files; `valueeval data verify` "
            "lists what is missing."
        )
    else:
        remedy = "It belongs to the package: install lm-eval-valueeval again."
    return f"{path.name} is missing in {path.parent}.\n{remedy}"


def _parse_arguments(content: bytes, path: Path) -> Iterator[Argument]:
    _, rows = parse_table(content, path, ARGUMENT_COLUMNS)
    for line, argument in enumerate(starmap(Argument, rows), start=2):
        if argument.stance not in STANCE_WORDS:
            raise malformed(path, line, "Stance", _stance_problem(argument.stance, content, path))
        if not argument.conclusion.strip():
            raise malformed(path, line, "Conclusion", "is empty; fill it in or drop the line")
        if not argument.premise.strip():
            raise malformed(path, line, "Premise", "is empty; fill it in or drop the line")
        yield argument


def _stance_problem(stance: str, content: bytes, path: Path) -> str:
    """Return what is wrong with a stance, and what to do about it."""
    if hashlib.sha256(content).hexdigest() == EARLIER_SHA256.get(path.name):
        return (
            f"{shown(stance)}: this is the file of the organisers' earlier release (Zenodo record "
            f"{EARLIER_RECORD}), which spells some stances so; `valueeval data fetch` downloads "
            "the current release"
        )
    if stance == "in favour of":
        return (
            f"{shown(stance)} is how the organisers' earlier release spells some stances; get the "
            'current one (`valueeval data fetch`) or write "in favor of"'
        )
    return f'{shown(stance)} is not "in favor of" or "against"'


def _join(
    arguments: tuple[Argument, ...],
    arguments_path: Path,
    label_ids: tuple[str, ...],
    labels: npt.NDArray[np.bool_],
    labels_path: Path,
) -> npt.NDArray[np.bool_]:
    """Return the rows of ``labels`` in the order of ``arguments``."""
    row_of_id = {label_id: row for row, label_id in enumerate(label_ids)}
    argument_ids = {argument.id for argument in arguments}
    problems = []
    if unlabelled := [argument.id for argument in arguments if argument.id not in row_of_id]:
        problems.append(f"{labels_path.name} has no line for {_few(unlabelled)}")
    if unknown := [label_id for label_id in label_ids if label_id not in argument_ids]:
        problems.append(f"{arguments_path.name} has no line for {_few(unknown)}")
    if problems:
        raise ValueEvalError(
            f"{arguments_path.parent}: {'; '.join(problems)}. Both files must hold the same ids."
        )
    return labels[[row_of_id[argument.id] for argument in arguments]]


def _few(ids: Iterable[str], most: int = 3) -> str:
    ids = list(ids)
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(shown(one) for one in ids[:most]) + more
