"""The manifests against published schemas, and what is in them against the real program:
`python -m unittest discover deploy/kubernetes/tests`.

Run it with the Python of an environment that has requirements.txt, with `kubectl` and `curl`.
`BITNET` names the program; without it, `bitnet` is looked for.
"""

import hashlib
import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor

KUBERNETES = Path(__file__).parent.parent
DEPLOY = KUBERNETES.parent
BITNET = os.environ.get("BITNET", "bitnet")
MODEL = DEPLOY.parent / "demo/demo.gguf"
# The oldest Kubernetes that has all that is used, and the newest that there are schemas of.
VERSIONS = ["1.32", "1.37"]
CUSTOM = {"ScaledObject": ScaledObject, "PodMonitor": PodMonitor}


def rendered(name):
    """All objects of one of the folders, by kind."""
    command = ["kubectl", "kustomize", KUBERNETES / name]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {object["kind"]: object for object in yaml.safe_load_all(text)}


def pod(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]


def serve_args():
    return pod(rendered("base"))["containers"][0]["args"]


class Manifests(unittest.TestCase):
    def test_each_object_is_what_its_schema_says_and_has_nothing_else(self):
        kinds = set()
        for name in ("base", "autoscaling", "keda"):
            for kind, object in rendered(name).items():
                kinds.add(kind)
                with self.subTest(name=name, kind=kind):
                    if custom := CUSTOM.get(kind):
                        read = custom.model_validate(object)
                        dumped = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
                        # What the schema does not know is left out.
                        self.assertEqual(dumped, object)
                        continue
                    for version in VERSIONS:
                        kubernetes_validate.validate(object, version, strict=True)
        self.assertEqual(len(kinds), 9, kinds)

    def test_a_pod_has_time_to_drain(self):
        spec = pod(rendered("base"))
        server = spec["containers"][0]
        drain = next(int(arg.partition("=")[2]) for arg in server["args"] if "--drain" in arg)
        before = server["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], before + drain + 5)

    def test_threads_are_the_cpus_that_are_asked_for(self):
        server = pod(rendered("base"))["containers"][0]
        self.assertIn(f"--threads={server['resources']['requests']['cpu']}", server["args"])

    def test_nothing_runs_as_root_or_writes_where_it_need_not(self):
        spec = pod(rendered("base"))
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertFalse(spec["automountServiceAccountToken"])
        for container in spec["initContainers"] + spec["containers"]:
            confined = container["securityContext"]
            self.assertTrue(confined["readOnlyRootFilesystem"], container["name"])
            self.assertFalse(confined["allowPrivilegeEscalation"], container["name"])
            self.assertEqual(confined["capabilities"], {"drop": ["ALL"]})

    def test_an_autoscaler_alone_says_how_many_there_are(self):
        self.assertIn("replicas", rendered("base")["Deployment"]["spec"])
        for name in ("autoscaling", "keda"):
            self.assertNotIn("replicas", rendered(name)["Deployment"]["spec"])


class TheProgram(unittest.TestCase):
    """What the manifests and the container file say to `bitnet`, said to it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_it_answers_probes_and_scrapes_and_ends_when_it_is_asked_to(self):
        keys = self.folder / "keys.txt"
        keys.write_text("client-key\nmetrics-key\n")
        there = {"--host": "127.0.0.1", "--model": MODEL, "--api-key-file": keys}
        args = []
        for arg in serve_args():
            name = arg.partition("=")[0]
            args.append(f"{name}={there[name]}" if name in there else arg)
        command = [BITNET, *args, "--port=0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.kill)
        address = None
        while address is None:
            line = server.stderr.readline()
            self.assertTrue(line, "it ended")
            address = re.search(r"listens at http://(\S+)", line)
        spec = pod(rendered("base"))["containers"][0]
        probe = spec["readinessProbe"]["httpGet"]["path"]

        def get(path, key=None):
            connection = http.client.HTTPConnection(address[1], timeout=60)
            # A probe calls a pod by its address.
            headers = {"Host": "10.1.2.3:8080"}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            answer = response.status, response.read().decode()
            connection.close()
            return answer

        self.assertEqual(get(probe)[0], 200)
        scrape = rendered("autoscaling")["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["path"]
        self.assertEqual(get(scrape)[0], 401)
        status, figures = get(scrape, "metrics-key")
        self.assertEqual(status, 200)
        adapter = yaml.safe_load((KUBERNETES / "autoscaling/prometheus-adapter.yaml").read_text())
        rule = adapter["rules"]["custom"][0]
        series = rule["seriesQuery"].partition("{")[0]
        self.assertRegex(figures, f"(?m)^{series}{{")
        query = rendered("keda")["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
        self.assertIn(series, query)
        metric = rendered("autoscaling")["HorizontalPodAutoscaler"]["spec"]["metrics"][0]
        self.assertEqual(metric["pods"]["metric"]["name"], rule["name"]["as"])
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)
        server.stderr.close()

    def test_it_takes_what_the_container_file_says(self):
        text = (DEPLOY / "Containerfile").read_text()
        command = json.loads(re.search(r"(?m)^CMD (\[.*\])$", text)[1])
        done = subprocess.run([BITNET, *command, "--help"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


class Model(unittest.TestCase):
    """`fetch-model.sh` against a server on this machine."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.data = bytes(range(256)) * 4096
        self.asked = []
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                range = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                begin = int(range[1]) if range else 0
                test.asked.append(begin)
                self.send_response(206 if range else 200)
                body = test.data[begin:]
                if range:
                    last = len(test.data) - 1
                    self.send_header("Content-Range", f"bytes {begin}-{last}/{len(test.data)}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}/model.gguf"
        self.file = self.folder / "model.gguf"

    def fetch(self, digest=None):
        digest = digest or hashlib.sha256(self.data).hexdigest()
        environment = {**os.environ, "MODEL_URL": self.url, "MODEL_SHA256": digest}
        command = ["sh", KUBERNETES / "base/fetch-model.sh", self.file]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def test_a_model_is_fetched_once_and_gone_on_with_where_it_was_cut_off(self):
        partial = self.folder / "model.gguf.partial"
        partial.write_bytes(self.data[:1000])
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.file.read_bytes(), self.data)
        self.assertEqual(self.asked, [1000])
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.asked, [1000])
        # The end came before it had its name.
        self.file.rename(partial)
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.asked, [1000])

    def test_what_is_not_the_model_never_gets_its_name(self):
        done = self.fetch("0" * 64)
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not have the SHA-256", done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])
        # A damaged beginning is not gone on with a second time.
        (self.folder / "model.gguf.partial").write_bytes(b"damaged")
        self.assertEqual(self.fetch().returncode, 1)
        self.assertEqual(self.fetch().returncode, 0)
        self.assertEqual(self.file.read_bytes(), self.data)


if __name__ == "__main__":
    unittest.main()
