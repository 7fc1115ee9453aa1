"""The encoding of a text file: by its byte order mark, as UTF-8, or by charset-normalizer."""

from __future__ import annotations

import codecs
from typing import BinaryIO

from charset_normalizer import from_bytes

from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's, so before it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OF_MARKS = {
    "utf-8-sig": ("utf-8", "utf-8-sig"),
    "utf-16": ("utf-16", "utf-16-le", "utf-16-be"),
    "utf-32": ("utf-32", "utf-32-le", "utf-32-be"),
}
_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_USUAL = ("utf-8", "utf-16", "windows-1252", "iso-8859-15", "mac-roman")
_SHOWN = {"utf-8-sig": "UTF-8", "mac_roman": "Mac Roman"}


def check_encoding(name: str) -> str:
    """Return Python's name of an encoding that was given by hand.

    Raises:
        ValueEvalError: There is no such encoding of text.
    """
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise ValueEvalError(
            f"--encoding {name}: not the name of an encoding{did_you_mean(name, _USUAL) or '.'} "
            f"Examples: {', '.join(_USUAL)}."
        ) from None


def with_mark(stream: BinaryIO, encoding: str) -> str:
    """Return an encoding that was given by hand as the one that reads the file's byte order mark.

    The stream is at its start before and after.
    """
    head = stream.read(4)
    stream.seek(0)
    for mark, marked in _MARKS:
        if head.startswith(mark) and encoding in _OF_MARKS[marked]:
            return marked
    return encoding


def shown_encoding(name: str) -> str:
    """Return an encoding's name as people know it: ``cp1252`` is Windows-1252."""
    if name.startswith("cp125"):
        return f"Windows-{name[2:]}"
    return _SHOWN.get(name, name.upper().replace("_", "-"))


def find_encoding(stream: BinaryIO, name: str) -> str:
    """Return the encoding of a file, in Python's name; the stream is at its start before and after.

    A byte order mark decides; else what is valid UTF-8 is that; else charset-normalizer guesses
    from the lines that are not ASCII. Between Windows-1252 and its relatives, which share most
    bytes, Windows-1252 wins: the others are for languages that the models do not read, or of DOS.

    Args:
        stream: The file.
        name: What to call it in messages.

    Raises:
        ValueEvalError: Nothing fits, or the file is UTF-8 with a few broken characters.
    """
    head = stream.read(4)
    stream.seek(0)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) >= 2 and 0 in head[:2]:  # every second byte of ASCII in UTF-16
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    if _is_utf8(stream):
        return "utf-8"
    sample = _lines_beyond_ascii(stream)
    text = sample.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    if sum(not character.isascii() for character in text) - broken > broken:
        raise ValueEvalError(
            f"{name}: UTF-8 text with broken characters ({broken} at least). Save it again as "
            "UTF-8, or name its encoding by --encoding."
        )
    found = list(from_bytes(sample))
    if not found:
        raise ValueEvalError(f"{name}: the encoding is not clear. Name it by --encoding.")
    for match in found:
        if match.chaos <= found[0].chaos + 0.1 and "cp1252" in match.could_be_from_charset:
            return "cp1252"
    return found[0].encoding


def _is_utf8(stream: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := stream.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        stream.seek(0)
    return True


def _lines_beyond_ascii(stream: BinaryIO) -> bytes:
    """Return the first lines that are not ASCII, 64 KiB at most."""
    found = bytearray()
    while len(found) < _SAMPLE and (line := stream.readline(_SAMPLE)):
        if not line.isascii():
            found += line
    stream.seek(0)
    return bytes(found[:_SAMPLE])
