"""Rows of Parquet files and of JSON lines, piece by piece.

Each row is read as one JSON object, so that nothing is made of one row's values by what others
have: a reader that guesses a schema from the first rows of a file would refuse, or change, a later
one that is shaped otherwise.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

# Bytes of a file of JSON lines that are read as one piece.
PIECE = 16 << 20
JSON_LINES = {".jsonl", ".ndjson"}


class Unusable(Exception):
    """The input cannot be read."""


@dataclass(frozen=True)
class Piece:
    """A part of a file: the lines that begin in a range of bytes, or a group of rows."""

    path: str
    begin: int
    end: int


@dataclass(frozen=True)
class Row:
    """What a row has in the columns that are wanted, and the names of those that are not."""

    place: str
    values: dict | None = None
    unread: frozenset = frozenset()
    problem: str | None = None


def pieces(paths):
    """The pieces of files, and of all files below folders."""
    found = []
    for path in files(paths):
        if path.suffix in JSON_LINES:
            size = path.stat().st_size
            ends = [*range(PIECE, size, PIECE), size]
            begins = [0, *ends[:-1]]
        else:
            begins = range(_groups(path))
            ends = [group + 1 for group in begins]
        found += [Piece(str(path), begin, end) for begin, end in zip(begins, ends)]
    return found


def _groups(path):
    try:
        return parquet.ParquetFile(path).num_row_groups
    except pa.ArrowInvalid as error:
        raise Unusable(f"{path}: {error}") from None


def files(paths):
    """The files of `paths`, each once, in an order that does not depend on how they are named."""
    known = JSON_LINES | {".parquet"}
    found = set()
    for path in map(Path, paths):
        if path.is_dir():
            found |= {file for file in path.rglob("*") if file.suffix in known}
        elif path.suffix in known and path.is_file():
            found.add(path)
        else:
            raise Unusable(f"{path}: no file or folder of {', '.join(sorted(known))}")
    if not found:
        raise Unusable(f"no {', '.join(sorted(known))} in {', '.join(map(str, paths))}")
    return sorted({file.resolve() for file in found})


def rows(piece, columns):
    """The rows of a piece, of which `columns` are wanted."""
    if Path(piece.path).suffix in JSON_LINES:
        return _lines(piece, columns)
    return _records(piece, columns)


def _records(piece, columns):
    file = parquet.ParquetFile(piece.path)
    names = file.schema_arrow.names
    unread = frozenset(names) - columns
    wanted = [name for name in names if name in columns]
    index = 0
    for batch in file.iter_batches(row_groups=[piece.begin], columns=wanted):
        for values in batch.to_pylist(maps_as_pydicts="strict"):
            place = f"{piece.path}, row {index} of group {piece.begin}"
            yield Row(place, _without_nulls(values), unread)
            index += 1


def _lines(piece, columns):
    with open(piece.path, "rb") as file:
        # A line belongs to the piece that it begins in.
        file.seek(max(piece.begin - 1, 0))
        if piece.begin > 0:
            file.readline()
        while (begin := file.tell()) < piece.end:
            line = file.readline()
            if begin == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _line(f"{piece.path}, byte {begin}", line, columns)


def _line(place, line, columns):
    try:
        values = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        return Row(place, problem=f"no JSON: {error}")
    if not isinstance(values, dict):
        return Row(place, problem="no JSON object")
    read = {name: own for name, own in values.items() if name in columns and own is not None}
    return Row(place, read, frozenset(values) - columns)


def _without_nulls(value):
    """A value of Parquet without fields that are null: there, a row has those of all others."""
    if isinstance(value, dict):
        return {name: _without_nulls(own) for name, own in value.items() if own is not None}
    if isinstance(value, list):
        return [_without_nulls(own) for own in value]
    return value
