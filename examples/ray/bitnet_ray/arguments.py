"""What the scripts have in common on the command line."""

import sys

import ray

from . import job
from .counts import NotExact
from .inputs import Unusable
from .job import Invalid, Pool
from .parts import FORMATS, Refused
from .server import ServerFailed


def divided(args):
    """The arguments before and behind `--`."""
    at = args.index("--") if "--" in args else len(args)
    return args[:at], args[at + 1 :]


def add(parser):
    parser.add_argument("input", nargs="+", metavar="INPUT",
                        help="files, or folders of files, that end in .parquet, .jsonl or .ndjson")
    parser.add_argument("--output", required=True, metavar="DIR",
                        help="folder that all nodes share; what is there already is not done again")
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="of the output")
    parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN",
                        help="a column of the input that is not read")
    parser.add_argument("--bitnet", default="bitnet", metavar="FILE",
                        help="the program, at this path on every node")
    parser.add_argument("--actors", type=int, default=1,
                        help="most of them at once, on all nodes together (%(default)s)")
    parser.add_argument("--rows-per-part", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--ray", metavar="ADDRESS",
                        help="of the cluster; without it, RAY_ADDRESS, or one that is started here")


def run(work, args, cpus):
    """Runs a job, and says how it went: the exit code is 1 where rows have no result."""
    pool = Pool(args.actors, cpus, args.rows_per_part)
    left = job.run(work, args.input, args.output, pool, args.format, frozenset(args.ignore))
    if left > 0:
        print(f"{left} rows have no result yet: run this again", file=sys.stderr)
    return int(left > 0)


def told(main):
    """The exit code of `main`; what stops a run is told in a line, and exits with 2."""
    try:
        return main()
    except (Invalid, NotExact, Refused, ServerFailed, Unusable, ray.exceptions.RayError) as error:
        # Ray wraps what was raised on a node.
        while cause := getattr(error, "cause", None) or error.__cause__:
            error = cause
        print(f"error: {error}", file=sys.stderr)
        return 2
