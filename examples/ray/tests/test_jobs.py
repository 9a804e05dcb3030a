"""Jobs on a local cluster of two nodes: `python -m unittest discover examples/ray/tests`.

Run it with the Python of an environment that has requirements.txt. `BITNET` names the program;
without it, `bitnet` is looked for. It takes some minutes on two cores.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

EXAMPLES = Path(__file__).parent.parent
sys.path.insert(0, str(EXAMPLES))

import pyarrow as pa
import pyarrow.parquet as parquet
from bitnet_ray import answers, inputs, parts
from bitnet_ray.job import COMMON
from bitnet_ray.server import Server
from ray.cluster_utils import Cluster

BITNET = os.environ.get("BITNET", "bitnet")
MODEL = EXAMPLES.parent.parent / "demo/demo.gguf"
SERVE = ["--prompt-template", "instruct", "--context", "256"]
# An actor of two of a node's CPUs, and the third for all else.
NODE = {"num_cpus": 3}


def rows():
    """Prompts and conversations, with seeds and without."""
    for i in range(96):
        own = {"max_tokens": 24 + i % 40, "temperature": [0, 0.7, 1.1][i % 3]}
        if i % 4 == 0:
            own["logprobs"] = 2
        yield {"id": f"prompt {i}", "prompt": f"Scene {i}. Enter", "parameters": own}
    for i in range(48):
        asked = [{"role": "user", "content": f"Who is number {i}?"}]
        yield {"id": i, "messages": asked, "seed": i if i % 2 else None, "parameters": {"n": 2}}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_input(folder):
    """The rows, a part of them in Parquet and a part in lines of JSON, in another order."""
    folder.mkdir()
    prompts = [row for row in rows() if "prompt" in row]
    write_lines(folder / "prompts.jsonl", prompts[::-1])
    conversations = [row for row in rows() if "messages" in row]
    table = pa.Table.from_pylist([{**row, "id": str(row["id"])} for row in conversations])
    parquet.write_table(table, folder / "conversations.parquet", row_group_size=11)


def answer(folder, cluster, *flags, rows=4, actors=2):
    """A run that answers the rows, as a process of its own."""
    command = [sys.executable, EXAMPLES / "answer.py", folder / "in", "--output", folder / "out"]
    command += ["--bitnet", BITNET, "--model", MODEL, "--parameters", '{"max_tokens": 40}']
    command += ["--ray", cluster.address, "--threads", "2", "--actors", str(actors)]
    command += ["--rows-per-part", str(rows), *flags, "--", *SERVE]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(folder):
    """All results, by id. An id that stands twice is an error."""
    found = {}
    for path in folder.glob("part-*"):
        for row in parquet.read_table(path).to_pylist():
            assert row["id"] not in found, row["id"]
            found[row["id"]] = row
    return found


def wait_for(what, condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was waited for in vain")
        time.sleep(0.05)


def servers_below(process):
    """The processes of `bitnet serve` below a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = (int(status[1]), words)
        except OSError:
            continue

    def is_below(pid):
        while pid in parents and pid != process:
            pid = parents[pid][0]
        return pid == process

    serves = lambda words: words[0] == os.fsencode(BITNET) and words[1:2] == [b"serve"]
    return [pid for pid, (_, words) in parents.items() if serves(words) and is_below(pid)]


def raylet(node):
    return node.all_processes["raylet"][0].process.pid


class OnTwoNodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(initialize_head=True, head_node_args=NODE)
        # All rows, one after another, by one server that does nothing else, and without Ray.
        command = [BITNET, "serve", "--model", str(MODEL), "--threads", "1", "--parallel", "1"]
        server = Server([*command, *SERVE])
        job = answers.Answers((), 1, {"max_tokens": 40}, "")
        cls.alone = {}
        for row in rows():
            row = {name: value for name, value in row.items() if value is not None}
            cls.alone[str(row["id"])] = answers.ask(server, job.request(str(row["id"]), row))
        server.close()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.shutdown()

    def setUp(self):
        self.other = self.cluster.add_node(**NODE)
        self.cluster.wait_for_nodes()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        write_input(self.folder / "in")

    def tearDown(self):
        if self.other in self.cluster.list_all_nodes():
            self.cluster.remove_node(self.other)

    def parts(self):
        return sorted((self.folder / "out").glob("part-*"))

    def assert_done(self, run, code=0):
        out, err = run.communicate(timeout=300)
        self.assertEqual(run.returncode, code, out + err)
        return out

    def assert_all_answered_as_alone(self):
        found = results(self.folder / "out")
        self.assertEqual(found.keys(), self.alone.keys())
        for id, expected in self.alone.items():
            self.assertEqual(expected["status"], 200, expected)
            own = {name: value for name, value in found[id].items() if name in expected}
            self.assertEqual(own, expected)
            self.assertIsNone(found[id]["error"])

    def test_a_node_and_a_server_that_are_killed_change_no_answer(self):
        run = answer(self.folder, self.cluster)
        here = raylet(self.cluster.head_node)
        there = raylet(self.other)
        wait_for("a server on each node", lambda: servers_below(here) and servers_below(there))
        killed = servers_below(there)
        wait_for("parts", lambda: len(self.parts()) >= 3)
        for server in servers_below(here):
            os.kill(server, signal.SIGKILL)
        self.cluster.remove_node(self.other, allow_graceful=False)
        wait_for("its end", lambda: not any(Path(f"/proc/{server}").exists() for server in killed))
        self.assertLess(len(self.parts()), 30, "it was killed too late to show anything")
        self.assert_done(run)
        self.assert_all_answered_as_alone()

    def test_what_a_killed_run_did_is_not_done_again_and_what_was_damaged_is(self):
        run = answer(self.folder, self.cluster)
        wait_for("parts", lambda: len(self.parts()) >= 6)
        run.kill()
        run.communicate()
        for node in (self.other, self.cluster.head_node):
            wait_for("the end of its servers", lambda: not servers_below(raylet(node)))
        before = self.parts()
        self.assertLess(len(before), 30, "it was killed too late to show anything")
        # One is cut off, one changed in the middle, one gone; and one has a twin.
        before[0].write_bytes(before[0].read_bytes()[:-7])
        data = bytearray(before[1].read_bytes())
        data[len(data) // 2] ^= 1
        before[1].write_bytes(data)
        before[2].unlink()
        parts.write(before[3].parent, parquet.read_table(before[3]).slice(1), "parquet")
        kept = {path: path.stat().st_mtime_ns for path in before[4:]}
        out = self.assert_done(answer(self.folder, self.cluster))
        self.assertIn(f"{before[0].name} is damaged", out)
        self.assertIn(f"{before[1].name} is damaged", out)
        self.assert_all_answered_as_alone()
        for path, written in kept.items():
            self.assertEqual(path.stat().st_mtime_ns, written, path)
        after = self.parts()
        out = self.assert_done(answer(self.folder, self.cluster))
        self.assertIn("144 rows, 144 of them are there", out)
        self.assertEqual(self.parts(), after)

    def test_errors_of_rows_stay_in_their_rows(self):
        for path in (self.folder / "in").iterdir():
            path.unlink()
        good = {"id": "good", "prompt": "Enter", "parameters": {"max_tokens": 4}}
        wrong = [
            {"id": "temperature", "prompt": "Enter", "parameters": {"temperature": -1}},
            {"id": "both", "prompt": "Enter", "messages": []},
            {"id": "neither"},
            {"id": "long", "prompt": "Enter " * 999},
            {"id": "streamed", "prompt": "Enter", "parameters": {"stream": True}},
            {"id": "unicode", "prompt": "\ud800"},
            {"id": ["list"], "prompt": "Enter"},
        ]
        path = self.folder / "in/rows.jsonl"
        write_lines(path, [good, *wrong])
        path.write_bytes(path.read_bytes() + b'{"id": "broken"\n\xff\n[1]\n')
        self.assert_done(answer(self.folder, self.cluster, actors=1))
        found = results(self.folder / "out")
        self.assertEqual(len(found), 11)
        self.assertIsNone(found.pop("good")["error"])
        self.assertIn("temperature", found["temperature"]["error"])
        self.assertIn("context_length_exceeded", found["long"]["error"])
        for row in found.values():
            self.assertIsNotNone(row["error"], row)
        # They are results too, and nothing is asked again.
        out = self.assert_done(answer(self.folder, self.cluster, actors=1))
        self.assertIn("11 rows, 11 of them are there", out)

    def test_rows_that_cannot_be_told_apart_and_columns_that_change_nothing_are_refused(self):
        path = self.folder / "in/more.jsonl"
        write_lines(path, [{"id": "7", "prompt": "Enter", "temperature": 0}])
        run = answer(self.folder, self.cluster)
        _, err = run.communicate(timeout=300)
        self.assertEqual(run.returncode, 2, err)
        self.assertRegex(err.splitlines()[-1], "1 ids .*: 7; .* change nothing: temperature")
        self.assertEqual(self.parts(), [])

    def test_tokens_are_counted_as_bitnet_tokens_counts_them(self):
        texts = {str(i): "Öl, \0 \u2028 und\n<|endoftext|> 世界 " * i for i in range(50)}
        path = self.folder / "texts.jsonl"
        write_lines(path, [{"id": id, "text": text} for id, text in texts.items()])
        path.write_text(path.read_text() + '{"id": "none"}\n')
        command = [sys.executable, EXAMPLES / "count_tokens.py", path, "--model", "gpt-4o"]
        command += ["--output", self.folder / "out", "--bitnet", BITNET, "--actors", "2"]
        command += ["--ray", self.cluster.address, "--rows-per-part", "7", "--format", "jsonl"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = {}
        for part in self.parts():
            for line in part.read_text().split("\n")[:-1]:
                row = json.loads(line)
                found[row["id"]] = row
        self.assertIn("`text`", found.pop("none")["error"])
        self.assertEqual(found.keys(), texts.keys())
        for id, text in texts.items():
            path.write_text(text)
            command = [BITNET, "tokens", "--model", "gpt-4o", path]
            count = subprocess.run(command, capture_output=True, text=True, check=True)
            self.assertEqual(found[id]["tokens"], int(count.stdout), id)


class WithoutACluster(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_pieces_have_each_line_once_wherever_they_are_cut(self):
        path = self.folder / "rows.jsonl"
        lines = [json.dumps({"id": i, "prompt": "\u2028\x85é" * (i % 5)}) for i in range(40)]
        path.write_text("\ufeff" + "\r\n\n".join(lines), encoding="utf-8")
        for size in [*range(1, 60), 1000, 1 << 20]:
            with mock.patch.object(inputs, "PIECE", size):
                cut = inputs.pieces([path])
            found = [row for piece in cut for row in inputs.rows(piece, frozenset({"id"}))]
            self.assertEqual([row.values["id"] for row in found], list(range(40)), size)
            self.assertEqual(found[1].unread, {"prompt"})

    def test_a_folder_takes_one_run_at_a_time_of_one_job(self):
        schema = pa.schema(COMMON)
        with parts.Folder(self.folder, schema) as folder:
            folder.claim({"job": "a"})
            with self.assertRaisesRegex(parts.Refused, "another run"):
                parts.Folder(self.folder, schema)
        with parts.Folder(self.folder, schema) as folder:
            folder.claim({"job": "a"})
            with self.assertRaisesRegex(parts.Refused, "another job"):
                folder.claim({"job": "b"})

    def test_a_result_of_another_row_by_the_same_id_is_refused(self):
        schema = pa.schema(COMMON)
        table = pa.Table.from_pylist([{"id": "1", "digest": "a"}], schema)
        parts.write(self.folder, table, "jsonl")
        with parts.Folder(self.folder, schema) as folder:
            self.assertEqual(folder.finished({"1": "a"}, lambda row: True), {"1"})
            with self.assertRaisesRegex(parts.Refused, "another row"):
                folder.finished({"1": "b"}, lambda row: True)
            self.assertEqual(folder.finished({"1": "a"}, lambda row: False), set())
        self.assertEqual(list(self.folder.glob("part-*")), [])


if __name__ == "__main__":
    unittest.main()
