"""Answers of a model to prompts and conversations, each as if it were the only one."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from .job import Invalid, Job
from .server import Server, Unanswered

# What decides over how a row is answered is the row's own, and answers come whole.
NOT_PARAMETERS = {"prompt", "messages", "stream", "stream_options"}


class OtherModel(Exception):
    """A node answers with another model, or by other rules, than the first that was asked."""


def seed_of(id):
    """The seed of a row that gives none."""
    return int.from_bytes(hashlib.sha256(f"seed of {id}".encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Answers(Job):
    # `bitnet serve` with the model and all else that answers depend on.
    command: tuple
    # Rows that are answered side by side.
    parallel: int
    # Parameters of rows that give none.
    parameters: dict
    # What the server's answers depend on beside the request.
    fingerprint: str

    columns = frozenset({"id", "prompt", "messages", "seed", "parameters"})
    fields = [
        # What was asked, as JSON: prompt or messages, parameters, seed.
        pa.field("request", pa.string()),
        # The HTTP status; null where nothing was asked or nothing answered.
        pa.field("status", pa.int16()),
        pa.field("text", pa.string()),
        # All that the server says of the choices, as JSON.
        pa.field("choices", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("system_fingerprint", pa.string()),
        pa.field("error", pa.string()),
    ]

    def identity(self):
        return {"job": "answers", "system_fingerprint": self.fingerprint}

    def request(self, id, values):
        own = _parsed(values.get("parameters", {}), "parameters", dict)
        asked = [name for name in ("prompt", "messages") if name in values]
        if len(asked) != 1:
            raise Invalid("a row needs `prompt` or `messages`, and not both")
        request = {**self.parameters, **own}
        check(request)
        if "messages" in values:
            request["messages"] = _parsed(values["messages"], "messages", list)
        else:
            request["prompt"] = values["prompt"]
        if "seed" in values:
            request["seed"] = values["seed"]
        request.setdefault("seed", seed_of(id))
        return request

    def worker(self):
        server = Server([*self.command, "--parallel", str(self.parallel)])
        threads = ThreadPoolExecutor(self.parallel)

        def answer(request):
            result = ask(server, request)
            fingerprint = result.get("system_fingerprint", self.fingerprint)
            if fingerprint != self.fingerprint:
                raise OtherModel(f"{fingerprint} answers here, {self.fingerprint} elsewhere")
            return result

        return lambda requests: list(threads.map(answer, requests))

    def is_final(self, result):
        # What the server says of a request it says of the same one again, but for its own failures.
        status = result["status"]
        return result["request"] is None or status == 200 or status is not None and status < 500


def check(parameters):
    """Raises `Invalid` where `parameters` hold what is no parameter."""
    if not isinstance(parameters, dict):
        raise Invalid("the parameters must be a JSON object")
    if wrong := sorted(NOT_PARAMETERS & parameters.keys()):
        raise Invalid(f"`{wrong[0]}` is no parameter of a row")


def ask(server, request):
    """The result of a request."""
    body = json.dumps(request, ensure_ascii=False)
    result = {"request": body}
    path = "/v1/chat/completions" if "messages" in request else "/v1/completions"
    try:
        result["status"], answer = server.post(path, body.encode())
    except Unanswered as error:
        return {**result, "error": str(error)}
    if result["status"] != 200:
        return {**result, "error": answer.decode(errors="replace")}
    answer = json.loads(answer)
    first, usage = answer["choices"][0], answer["usage"]
    return {
        **result,
        "text": first["message"]["content"] if "message" in first else first["text"],
        "choices": json.dumps(answer["choices"], ensure_ascii=False),
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "system_fingerprint": answer["system_fingerprint"],
    }


def fingerprint(command):
    """What answers of `command` depend on beside the request, as the server tells it."""
    server = Server(command)
    try:
        result = ask(server, {"prompt": "a", "max_tokens": 1})
        return result["system_fingerprint"]
    finally:
        server.close()


def _parsed(value, name, kind):
    """A value, or the JSON text of one: columns of Parquet often hold that."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, kind):
        raise Invalid(f"`{name}` must be a JSON {'list' if kind is list else 'object'}")
    return value
