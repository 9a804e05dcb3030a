"""Answers each row of Parquet files and JSON lines with a model: see README.md."""

import argparse
import json
import shutil
import sys

import ray
from bitnet_ray import answers, arguments, job


def parse():
    own, serve = arguments.divided(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s INPUT... --output DIR --model FILE [-- SERVE FLAGS]"
    )
    arguments.add(parser)
    parser.add_argument("--model", required=True, help="GGUF file, at this path on every node")
    parser.add_argument("--parameters", default={}, type=json.loads, metavar="JSON",
                        help="for rows that give none, such as {\"max_tokens\": 64}")
    parser.add_argument("--threads", type=int, default=2, help="of each server (%(default)s)")
    parser.add_argument("--parallel", type=int, default=8,
                        help="rows that a server answers side by side (%(default)s)")
    args = parser.parse_args(own)
    answers.check(args.parameters)
    return args, serve


def main():
    args, serve = parse()
    job.connect(args.ray)
    command = [shutil.which(args.bitnet) or args.bitnet, "serve", "--model", args.model]
    command += ["--threads", str(args.threads), *serve]
    told = ray.remote(num_cpus=args.threads)(answers.fingerprint).remote(command)
    work = answers.Answers(tuple(command), args.parallel, args.parameters, ray.get(told))
    return arguments.run(work, args, cpus=args.threads)


if __name__ == "__main__":
    sys.exit(arguments.told(main))
