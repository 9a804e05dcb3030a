"""The output folder: parts that appear whole or not at all, each named by the SHA-256 of its bytes.

Equal rows give equal bytes, so that a part that is written twice is one part; and a part whose
bytes are not those of its name is damaged.
"""

import fcntl
import hashlib
import io
import json
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

# What the folder holds: its job, as JSON. Readers of Parquet pass over names that begin so.
JOB = "_job.json"


class Refused(Exception):
    """The folder cannot take the results of this run."""


def _to_lines(table):
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
    return "".join(lines).encode()


def _of_lines(data, schema):
    return pa.Table.from_pylist([json.loads(line) for line in data.split(b"\n") if line], schema)


def _to_parquet(table):
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _of_parquet(data, schema):
    return parquet.read_table(io.BytesIO(data)).cast(schema)


# How parts are written and read, by the ending of their names.
FORMATS = {"parquet": (_to_parquet, _of_parquet), "jsonl": (_to_lines, _of_lines)}


def write(folder, table, format):
    """Writes a part, and returns its name. Nobody sees a half of it, whenever this is ended."""
    data = FORMATS[format][0](table)
    name = f"part-{hashlib.sha256(data).hexdigest()}.{format}"
    partial = Path(folder, f".{name}.{socket.gethostname()}-{os.getpid()}.partial")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, Path(folder, name))
    return name


class Folder:
    """An output folder that one run at a time writes to."""

    def __init__(self, path, schema):
        self.path = Path(path).resolve()
        self._schema = schema
        self.path.mkdir(parents=True, exist_ok=True)
        self._job = open(self.path / JOB, "a+", encoding="utf-8")
        try:
            fcntl.flock(self._job, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._job.close()
            raise Refused(f"another run is writing to {self.path}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._job.close()

    def claim(self, job):
        """Takes the folder for a job, or refuses it where it has the results of another."""
        self._job.seek(0)
        before, own = self._job.read(), json.dumps(job) + "\n"
        if not before:
            self._job.write(own)
            self._job.flush()
        elif before != own:
            raise Refused(
                f"{self.path} has results of another job: {before}This one is {own}"
                "Give another folder."
            )

    def finished(self, wanted, is_final):
        """The ids of rows that have a result in the folder, which then has each of them once.

        `wanted` has a digest for each id: a result for another digest is refused. A row whose
        result is not final is taken out of its part, so that it can be done again, and so is one
        that stands in another part too, as it can after two runs at once. A damaged part is set
        aside.
        """
        for partial in self.path.glob(".part-*.partial"):
            partial.unlink()
        found = set()
        for path in sorted(self.path.glob("part-*")):
            table = self._load(path)
            if table is None:
                print(f"{path.name} is damaged: set aside, its rows are done again", flush=True)
                path.rename(path.with_name(f"_damaged-{path.name}"))
                continue
            keep = []
            for row in table.to_pylist():
                id = row["id"]
                if wanted.get(id, row["digest"]) != row["digest"]:
                    raise Refused(f"{self.path} has the result of another row with id {id!r}")
                keep.append(id not in found and is_final(row))
                if keep[-1]:
                    found.add(id)
            if not all(keep):
                if any(keep):
                    write(self.path, table.filter(pa.array(keep)), path.suffix[1:])
                path.unlink()
        return found

    def _load(self, path):
        """The rows of a part; None where its bytes are not those that were written."""
        data = path.read_bytes()
        if path.name != f"part-{hashlib.sha256(data).hexdigest()}{path.suffix}":
            return None
        return FORMATS[path.suffix[1:]][1](data, self._schema)
