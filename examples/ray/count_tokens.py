"""Counts the tokens of each text of Parquet files and JSON lines, exactly: see README.md."""

import argparse
import shutil
import sys

from bitnet_ray import arguments, counts, job


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    arguments.add(parser)
    parser.add_argument("--model", required=True,
                        help="a model's name, or the path of its tokenizer or GGUF file")
    args = parser.parse_args()
    bitnet = shutil.which(args.bitnet) or args.bitnet
    encoding = counts.encoding(bitnet, args.model)
    job.connect(args.ray)
    return arguments.run(counts.Counts(bitnet, args.model, encoding), args, cpus=1)


if __name__ == "__main__":
    sys.exit(arguments.told(main))
