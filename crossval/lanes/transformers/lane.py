"""The lane of Hugging Face's transformers: answers the harness's requests on standard input.

One JSON request a line comes in; one JSON response a line goes out, followed by as many
little-endian float32 values as it announces. The messages are those of
crossval/protocol/src/message.rs.
"""

import argparse
import json
import os
import sys
import time

# The modules are compiled as they are run, which takes minutes and changes the order of sums.
os.environ["TORCHDYNAMO_DISABLE"] = "1"
# Nothing here is to be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"

PROTOCOL = 1

# Only the protocol goes to standard output, whatever a library prints.
wire = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)

import torch  # noqa: E402
import transformers  # noqa: E402

from bitnet_model import Model  # noqa: E402
from gguf_file import GgufFile, Unreadable  # noqa: E402
from gguf_tokenizer import GgufTokenizer  # noqa: E402

# The kinds of attention of the protocol under transformers' names.
ATTENTION = {"plain": "eager", "flash": "sdpa"}


class Refusal(Exception):
    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Lane:
    def __init__(self, reference, fingerprint):
        self.reference = reference
        self.fingerprint = fingerprint
        self.model = None
        self.tokenizer = None

    def hello(self, _request):
        return {
            "reply": "hello",
            "protocol": PROTOCOL,
            "lane": "transformers",
            "reference": self.reference,
            "fingerprint": self.fingerprint,
            "system": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
            "flash_attention": True,
        }, []

    def load(self, request):
        start = time.perf_counter()
        self.model = self.tokenizer = None
        if request["kv"] != "f32":
            words = "transformers keeps keys and values as float32 here: --kv f32"
            raise Refusal("bad_request", words)
        torch.set_num_threads(max(1, request["threads"]))
        try:
            file = GgufFile(request["path"])
            self.model = Model(file, ATTENTION[request["attention"]])
            self.tokenizer = GgufTokenizer.of(file)
        except Unreadable as error:
            self.model = None
            raise Refusal("cannot_read", f"cannot read {request['path']}: {error}") from error
        config = self.model.config
        return {
            "reply": "loaded",
            "description": f"{file.metadata['general.architecture']}, float32",
            "vocabulary": config.vocab_size,
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "context": config.max_position_embeddings,
            "tokenizer": self.tokenizer is not None,
            "load_ms": 1e3 * (time.perf_counter() - start),
        }, []

    def tokenize(self, request):
        self._opened()
        if self.tokenizer is None:
            raise Refusal("no_tokenizer", "the model file carries no tokenizer that is read here")
        special = request["add_special"], request["parse_special"]
        ids = self.tokenizer.encode(request["text"], *special)
        return {"reply": "tokens", "tokens": ids}, []

    def evaluate(self, request):
        model = self._opened()
        tokens, vocabulary = request["tokens"], model.config.vocab_size
        if not tokens:
            raise Refusal("bad_request", "no tokens to evaluate")
        for token in tokens:
            if not 0 <= token < vocabulary:
                words = f"token {token} is outside the vocabulary of {vocabulary} tokens"
                raise Refusal("bad_request", words)
        logits, streams, greedy = [], [], []

        def step(fed):
            rows, layers = model.step(fed)
            logits.append(rows)
            streams.append(layers)

        model.reset()
        start = time.perf_counter()
        for fed in [tokens] if request["feed"] == "batch" else [[token] for token in tokens]:
            step(fed)
        between = time.perf_counter()
        for _ in range(request["greedy"]):
            greedy.append(int(logits[-1][-1].argmax()))
            step([greedy[-1]])
        end = time.perf_counter()
        layers = [torch.cat(stream) for stream in zip(*streams)] if request["layers"] else []
        return {
            "reply": "evaluated",
            "rows": len(tokens) + len(greedy),
            "vocabulary": vocabulary,
            "layers": len(layers),
            "hidden": model.config.hidden_size,
            "greedy": greedy,
            "prefill_ms": 1e3 * (between - start),
            "decode_ms": 1e3 * (end - between),
        }, [torch.cat(logits), *layers]

    def unload(self, _request):
        self.model = self.tokenizer = None
        return {"reply": "unloaded"}, []

    def _opened(self):
        if self.model is None:
            raise Refusal("bad_request", "no model is open: send `load` first")
        return self.model

    def answer(self, line):
        """The response to a line, and the tensors that follow it."""
        known = (self.hello, self.load, self.tokenize, self.evaluate, self.unload)
        calls = {call.__name__: call for call in known}
        try:
            request = json.loads(line)
            call = calls.get(request["call"])
            if call is None:
                raise Refusal("bad_request", f"unknown call `{request['call']}`")
            reply, tensors = call(request)
        except Refusal as refusal:
            return {"Err": {"kind": refusal.kind, "message": str(refusal)}}, []
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            words = f"{error!r} in the line `{line[:120]}`"
            return {"Err": {"kind": "bad_request", "message": words}}, []
        except (RuntimeError, MemoryError) as error:
            return {"Err": {"kind": "failed", "message": str(error)}}, []
        return {"Ok": reply}, tensors


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--reference", default=f"transformers {transformers.__version__}")
    arguments.add_argument("--fingerprint", default="")
    lane = Lane(**vars(arguments.parse_args()))
    for line in sys.stdin:
        result, tensors = lane.answer(line)
        floats = [tensor.contiguous().numpy().astype("<f4", copy=False) for tensor in tensors]
        response = {"result": result, "floats": sum(values.size for values in floats)}
        wire.write(json.dumps(response).encode() + b"\n")
        for values in floats:
            wire.write(values.tobytes())
        wire.flush()


if __name__ == "__main__":
    main()
