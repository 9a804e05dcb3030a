"""Writes texts with the ids that tiktoken gives them: generate.py RANKS LLAMA3_MODEL SEED COUNT > tiktoken.jsonl

RANKS is a folder with cl100k_base.tiktoken and o200k_base.tiktoken, LLAMA3_MODEL Meta's tokenizer.model.
Needs `pip install tiktoken`, no network.
"""

import base64
import json
import random
import sys

import tiktoken
import tiktoken_ext.openai_public as openai

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PARTS = [
    "the", "The", "I'm", "we'LL", "DON'T", " 12", "3456", "\n", "\n\n", "  ", "\t", "\r\n", "é", "É", "日本語",
    "한국어", "русский", "😀", "👩‍👩‍👧", "\u0301", "ſ", "'ſ", "½", "٣", "\u00a0", "\u2028", "!", "!!", "//", "/",
    "_", "://", "http", "fn main() {", "    let x = 1;", "<|endoftext|>", "ǅ", "ʰ", "CamelCaseHTTPServer", "aaaa",
    "zzz", "==", "->", "\x00", "\x7f", "\ufeff", "क्षि", "ไทย", "עברית", "العربية",
]
BLOCKS = [(0x20, 0x7F), (0xA0, 0x2000), (0x3000, 0xD000), (0x1F300, 0x1F700), (0x10000, 0x1F000)]


def ranks(path):
    with open(path, "rb") as lines:
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def text():
    kind = random.random()
    if kind < 0.7:
        return "".join(random.choice(PARTS) for _ in range(random.randrange(1, 20)))
    if kind < 0.9:
        return "".join(chr(random.randrange(*random.choice(BLOCKS))) for _ in range(random.randrange(1, 40)))
    return random.choice(PARTS) * random.randrange(1, 60)


def main():
    folder, llama3, seed, count = sys.argv[1:]
    openai.load_tiktoken_bpe = lambda url, expected_hash=None: ranks(f"{folder}/{url.rsplit('/', 1)[1]}")
    encodings = [tiktoken.Encoding(**openai.cl100k_base()), tiktoken.Encoding(**openai.o200k_base())]
    encodings.append(
        tiktoken.Encoding("llama3", pat_str=LLAMA3, mergeable_ranks=ranks(llama3), special_tokens={})
    )
    random.seed(int(seed))
    for _ in range(int(count)):
        row = {"text": text()}
        row |= {encoding.name: encoding.encode_ordinary(row["text"]) for encoding in encodings}
        print(json.dumps(row, ensure_ascii=False))


main()
