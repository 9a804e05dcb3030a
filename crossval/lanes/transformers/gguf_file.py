"""Reads GGUF files, versions 2 and 3: metadata, and tensors as PyTorch tensors of float32.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing of the
engine under test is used here: this is a second reading of the same bytes.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import torch

SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
STRING, ARRAY = 8, 9

F32, F16, BF16, I2_S = 0, 1, 30, 36
NAMES = {
    F32: "F32", F16: "F16", BF16: "BF16", I2_S: "I2_S",
    8: "Q8_0", 14: "Q6_K", 34: "TQ1_0", 35: "TQ2_0",
}  # fmt: skip


class Unreadable(Exception):
    """The file is not sound, or holds what this program does not know."""


@dataclass
class Tensor:
    shape: tuple[int, ...]  # outermost dimension first
    type_id: int
    data: memoryview


class GgufFile:
    def __init__(self, path):
        try:
            self._bytes = memoryview(np.memmap(path, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise Unreadable(str(error)) from error
        self._at = 0
        try:
            self._read()
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError, RecursionError) as error:
            raise Unreadable(f"not a sound GGUF file: {error!r} near byte {self._at}") from error

    def _read(self):
        if bytes(self._bytes[:4]) != b"GGUF":
            raise Unreadable("not a GGUF file")
        self._at = 4
        version = self._scalar("<I")
        if version not in (2, 3):
            raise Unreadable(f"GGUF version {version}; read here are 2 and 3")
        tensors, keys = self._scalar("<Q"), self._scalar("<Q")
        self.metadata = {}
        for _ in range(keys):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("<I"))
        found = {}
        for _ in range(tensors):
            name = self._string()
            shape = tuple(self._scalar("<Q") for _ in range(self._scalar("<I")))
            type_id, offset = self._scalar("<I"), self._scalar("<Q")
            found[name] = (shape[::-1], type_id, offset)
        alignment = self.metadata.get("general.alignment", 32)
        start = (self._at + alignment - 1) // alignment * alignment
        self.tensors = {}
        for name, (shape, type_id, offset) in found.items():
            size = size_of(name, type_id, math.prod(shape))
            begin = start + offset
            if begin + size > len(self._bytes):
                raise Unreadable(f"tensor `{name}` lies beyond the end of the file")
            self.tensors[name] = Tensor(shape, type_id, self._bytes[begin : begin + size])

    def _scalar(self, form):
        (value,) = struct.unpack_from(form, self._bytes, self._at)
        self._at += struct.calcsize(form)
        return value

    def _string(self):
        length = self._scalar("<Q")
        if self._at + length > len(self._bytes):
            raise Unreadable("a text lies beyond the end of the file")
        text = bytes(self._bytes[self._at : self._at + length]).decode()
        self._at += length
        return text

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            kind, length = self._scalar("<I"), self._scalar("<Q")
            return [self._value(kind) for _ in range(length)]
        return self._scalar(SCALARS[kind])


def size_of(name, type_id, count):
    """Bytes of a tensor of `count` values."""
    match type_id:
        case 0:
            return 4 * count
        case 1 | 30:
            return 2 * count
        case 36:
            if count % 128:
                raise Unreadable(f"tensor `{name}`: {count} weights of I2_S, no multiple of 128")
            return count // 4 + 32
    named = NAMES.get(type_id, f"number {type_id}")
    raise Unreadable(f"tensor `{name}` is of type {named}; read here are F32, F16, BF16 and I2_S")


def plain(name, tensor):
    """A tensor of floats, as float32."""
    match tensor.type_id:
        case 0:
            values = torch.from_numpy(np.frombuffer(tensor.data, dtype="<f4").copy())
        case 1:
            values = torch.from_numpy(np.frombuffer(tensor.data, dtype="<f2").astype("<f4"))
        case 30:
            bits = np.frombuffer(tensor.data, dtype="<u2").astype("<u4") << 16
            values = torch.from_numpy(bits.view("<f4"))
        case other:
            raise Unreadable(f"tensor `{name}` is of type {NAMES[other]} where floats belong")
    return values.reshape(tensor.shape)


def ternary(name, tensor):
    """The trits of an I2_S tensor as float32, and its scale.

    128 weights lie in 32 bytes: byte b holds weights b, b + 32, b + 64 and b + 96, the first in its
    two highest bits, each as weight + 1. One float32 scale follows all weights of the tensor.
    """
    if tensor.type_id != I2_S:
        raise Unreadable(f"tensor `{name}` is of type {NAMES[tensor.type_id]} where I2_S belongs")
    count = math.prod(tensor.shape)
    packed = np.frombuffer(tensor.data[: count // 4], dtype=np.uint8).reshape(-1, 1, 32)
    shifts = np.array([6, 4, 2, 0], dtype=np.uint8).reshape(1, 4, 1)
    codes = (packed >> shifts) & 3
    if (codes == 3).any():
        raise Unreadable(f"tensor `{name}` holds the code 3, which is no trit")
    trits = torch.from_numpy(codes.astype(np.float32) - 1).reshape(tensor.shape)
    (scale,) = struct.unpack_from("<f", tensor.data, count // 4)
    return trits, scale
