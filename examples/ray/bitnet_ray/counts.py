"""How many tokens texts have, exactly, as `bitnet` counts them."""

import json
import subprocess
from dataclasses import dataclass

import pyarrow as pa

from .job import Invalid, Job


# Bytes of a line that `bitnet pipe` reads.
LONGEST = 64 << 20


class NotExact(Exception):
    """There is no exact count for this model on this machine."""


@dataclass(frozen=True)
class Counts(Job):
    # The program.
    bitnet: str
    # A model's name, or the path of a tokenizer or model.
    model: str
    # The encoding that it is counted with.
    encoding: str

    columns = frozenset({"id", "text"})
    fields = [
        pa.field("tokens", pa.int64()),
        pa.field("error", pa.string()),
    ]

    def identity(self):
        return {"job": "counts", "model": self.model, "encoding": self.encoding}

    def request(self, id, values):
        if not isinstance(values.get("text"), str):
            raise Invalid("`text` must be a text")
        request = {"text": values["text"]}
        if len(_line(request).encode()) > LONGEST:
            raise Invalid(f"`text` has more than {LONGEST >> 20} MiB")
        return request

    def worker(self):
        return self.count

    def count(self, requests):
        """Counts the texts of a batch in one go."""
        lines = "".join(map(_line, requests))
        command = [self.bitnet, "pipe", "--model", self.model, "--workers", "1"]
        done = subprocess.run(command, input=lines, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr}")
        counts = [json.loads(line) for line in done.stdout.split("\n") if line]
        if any(count["accuracy"] != "exact" for count in counts):
            raise NotExact(f"counts of {self.model} are not exact on this node")
        return [{"tokens": count["tokens_input"]} for count in counts]


def _line(request):
    return json.dumps(request, ensure_ascii=False) + "\n"


def encoding(bitnet, model):
    """The encoding that texts are counted with. Raises `NotExact` where it is a guess."""
    command = [bitnet, "tokens", "--json", "--model", model]
    done = subprocess.run(command, input="", capture_output=True, text=True)
    if done.returncode != 0:
        raise NotExact(done.stderr)
    told = json.loads(done.stdout)
    if told["accuracy"] != "exact":
        raise NotExact(f"counts of {model} are only `{told['accuracy']}`: {told['encoding']}")
    return told["encoding"]
