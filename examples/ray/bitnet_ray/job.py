"""A job: each row of the input becomes one row of the output folder, on all nodes of a cluster.

What a row gives depends on that row alone, so that it does not matter which node does it, beside
which others, or how often: a part that is lost with its node is made again, the same to the byte.
"""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import ray

from . import inputs
from .parts import Folder, Refused, write

# What every result has, before what is the job's own.
COMMON = [
    pa.field("id", pa.string(), nullable=False),
    # SHA-256 of what was asked.
    pa.field("digest", pa.string(), nullable=False),
]


class Invalid(Exception):
    """A row does not say what to do."""


@dataclass(frozen=True)
class Job:
    """What is done with a row. One is sent to all nodes, so that it holds nothing but settings."""

    # Columns that are read, `id` among them.
    columns = frozenset()
    # Columns of a result behind those of all jobs.
    fields = []

    def identity(self):
        """What all results of a folder have in common, beside their rows."""
        raise NotImplementedError

    def request(self, id, values):
        """What a row asks for, as JSON. Raises `Invalid` where it does not say."""
        raise NotImplementedError

    def worker(self):
        """A function from a list of requests to as many results, as dicts of `fields`; made once
        in each actor."""
        raise NotImplementedError

    def refusal(self, problem):
        """The result of a row that asks for nothing."""
        return {"error": problem}

    def is_final(self, result):
        """Whether a result stays, or is one that another run may do better."""
        return True

    @property
    def schema(self):
        return pa.schema([*COMMON, *self.fields])


@dataclass(frozen=True)
class Pool:
    """The actors that do the work."""

    actors: int = 1
    cpus: float = 1
    rows_per_part: int = 64


REQUESTS = pa.schema(
    [
        *COMMON,
        pa.field("request", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("unread", pa.list_(pa.string())),
    ]
)


def run(job, paths, output, pool, format="parquet", ignored=frozenset()):
    """Does what is missing in the folder `output`, and returns how many rows have no final result.

    Raises `Refused` where the rows cannot be told apart or the folder has results of another job,
    and `inputs.Unusable`.
    """
    pieces = [asdict(piece) for piece in inputs.pieces(paths)]
    # Read twice, which takes less than to keep it: once to know what is wanted, once to do it.
    requests = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        _requests, fn_args=[job], batch_format="pyarrow", batch_size=1
    )
    wanted = _wanted(requests, job.columns | ignored)
    with Folder(output, job.schema) as folder:
        folder.claim(job.identity())
        missing = wanted.keys() - folder.finished(wanted, job.is_final)
        print(f"{len(wanted)} rows, {len(wanted) - len(missing)} of them are there", flush=True)
        if missing:
            for part in _parts(job, requests, missing, folder.path, pool, format).iter_rows():
                print(f"{part['name']}: {part['rows']} rows, {part['errors']} errors", flush=True)
        # What stands in the folder is what counts, not what was said about it.
        return len(wanted.keys() - folder.finished(wanted, job.is_final))


def _parts(job, requests, missing, folder, pool, format):
    """The parts that are written of the requests that are missing."""
    asked = requests.map_batches(
        _missing, fn_args=[ray.put(missing)], batch_format="pyarrow", batch_size=None
    )
    return asked.repartition(target_num_rows_per_block=pool.rows_per_part).map_batches(
        Actor,
        fn_constructor_args=[job, str(folder), format],
        batch_format="pyarrow",
        batch_size=pool.rows_per_part,
        # One is enough to go on, wherever the others were.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=pool.actors, initial_size=pool.actors
        ),
        num_cpus=pool.cpus,
    )


def _requests(pieces, job):
    """The requests of pieces of the input."""
    for piece in pieces.to_pylist():
        found = []
        for row in inputs.rows(inputs.Piece(**piece), job.columns):
            found.append(_request(job, row))
            if len(found) == 1024:
                yield pa.Table.from_pylist(found, REQUESTS)
                found.clear()
        yield pa.Table.from_pylist(found, REQUESTS)


def _request(job, row):
    id, request, problem = row.place, None, row.problem
    try:
        if row.values is not None:
            id = _id(row.values)
            request = json.dumps(job.request(id, row.values), ensure_ascii=False, allow_nan=False)
            request.encode()
    except UnicodeEncodeError:
        request, problem = None, "a text in it is not Unicode"
    except (Invalid, TypeError, ValueError, RecursionError) as error:
        request, problem = None, str(error)
    asked = request or f"{row.values}: {problem}"
    digest = hashlib.sha256(asked.encode(errors="replace"))
    return {
        "id": id,
        "digest": digest.hexdigest(),
        "request": request,
        "problem": problem,
        "unread": sorted(name.encode(errors="replace").decode() for name in row.unread),
    }


def _id(values):
    id = values.get("id")
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise Invalid("`id` must be a text or a whole number")
    try:
        str(id).encode()
    except UnicodeEncodeError:
        raise Invalid("`id` is not Unicode") from None
    return str(id)


def _wanted(requests, known):
    """The digest of each row, by its id."""
    wanted, doubled, unread = {}, set(), set()
    for batch in requests.select_columns(["id", "digest", "unread"]).iter_batches(
        batch_size=None, batch_format="pyarrow"
    ):
        for row in batch.to_pylist():
            if row["id"] in wanted:
                doubled.add(row["id"])
            wanted[row["id"]] = row["digest"]
            unread.update(row["unread"])
    problems = []
    if doubled:
        some = ", ".join(sorted(doubled)[:5])
        problems.append(f"{len(doubled)} ids stand for more than one row: {some}")
    if unread := sorted(unread - known):
        problems.append(
            f"the input has columns that would change nothing: {', '.join(unread)} "
            f"(read are {', '.join(sorted(known))}; name the others with --ignore)"
        )
    if problems:
        raise Refused("; ".join(problems))
    return wanted


def _missing(table, ids):
    """The requests whose results are missing."""
    ids = _get(ids)
    return table.filter(pa.array([id.as_py() in ids for id in table["id"]], pa.bool_()))


# It is the same for all calls of a run.
@functools.lru_cache(maxsize=1)
def _get(reference):
    return ray.get(reference)


class Actor:
    """Does the rows of a batch, and writes their results as a part."""

    def __init__(self, job, folder, format):
        self._job, self._folder, self._format = job, folder, format
        self._work = job.worker()

    def __call__(self, table):
        rows = table.to_pylist()
        asked = [row["request"] for row in rows if row["request"] is not None]
        answers = iter(self._work([json.loads(request) for request in asked]))
        results = []
        for row in rows:
            has_request = row["request"] is not None
            result = next(answers) if has_request else self._job.refusal(row["problem"])
            results.append({"id": row["id"], "digest": row["digest"], **result})
        name = write(self._folder, pa.Table.from_pylist(results, self._job.schema), self._format)
        errors = sum(result.get("error") is not None for result in results)
        return pa.table({"name": [name], "rows": [len(rows)], "errors": [errors]})


def connect(address):
    """Joins the cluster at `address`, or the one that `RAY_ADDRESS` names, or starts one here."""
    ray.init(address, runtime_env={"py_modules": [str(Path(__file__).parent)]}, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
