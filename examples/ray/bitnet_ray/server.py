"""A `bitnet serve` of one's own, on a free port of loopback."""

import collections
import http.client
import os
import re
import subprocess
import sys
import threading
import time

from . import tied

LISTENS = re.compile(r"listens at http://(127\.0\.0\.1):(\d+)")
# Starts in a row that never become healthy, before it is given up.
STARTS = 3
# Times that a request is sent to a server that dies of it, or of something else.
TRIES = 3


class ServerFailed(Exception):
    """The server does not come up: no row is to blame, and none can be answered."""


class Unanswered(Exception):
    """A request got no answer, each time that it was sent."""


class Server:
    """Keeps a server up until it is closed, or until this process ends, however it ends."""

    def __init__(self, command, patience=600.0):
        """Starts `command` (`bitnet serve ...`) and waits until it is healthy.

        `patience` is how many seconds a start or an answer may take.
        """
        own = ["--host", "127.0.0.1", "--port", "0", "--quiet"]
        self._command = [sys.executable, tied.__file__, str(os.getpid()), *command, *own]
        self._patience = patience
        self._said = collections.deque(maxlen=20)
        self._changed = threading.Condition()
        self._child = None
        self._address = None
        self._failures = 0
        self._closed = False
        # The kernel ties a child to the thread that started it, so that one thread starts them all.
        self._keeper = threading.Thread(target=self._keep, name="bitnet serve", daemon=True)
        self._keeper.start()
        self.address()

    def close(self):
        """Ends the server: gently, and at once if it has not ended ten seconds later."""
        with self._changed:
            self._closed = True
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
        self._keeper.join()

    def address(self):
        """Host and port of the server, once it says that it is healthy."""
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            with self._changed:
                self._changed.wait_for(self._has_news, deadline - time.monotonic())
                if self._closed or self._failures >= STARTS:
                    break
                address = self._address
            if address is not None and self._is_healthy(address):
                with self._changed:
                    self._failures = 0
                return address
            time.sleep(0.05)
        said = "".join(self._said)
        raise ServerFailed(f"`{' '.join(self._command[3:])}` does not answer. It said:\n{said}")

    def post(self, path, body):
        """Status and body of the answer to a request, sent again if the server dies of it."""
        failure = None
        for _ in range(TRIES):
            address = self.address()
            connection = http.client.HTTPConnection(*address, timeout=self._patience)
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
                continue
            finally:
                connection.close()
            # It is about to stop, or others have filled its queue: neither is about this request.
            if response.status not in (429, 503):
                return response.status, answer
            failure = f"status {response.status}"
            time.sleep(1)
        raise Unanswered(f"no answer in {TRIES} tries; the last: {failure}")

    def _has_news(self):
        return self._closed or self._address is not None or self._failures >= STARTS

    @staticmethod
    def _is_healthy(address):
        connection = http.client.HTTPConnection(*address, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _keep(self):
        """Starts the server, again each time that it ends."""
        while True:
            with self._changed:
                if self._closed or self._failures >= STARTS:
                    return
                # Taken back once it is healthy.
                self._failures += 1
                pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                self._child = subprocess.Popen(
                    self._command, stderr=subprocess.PIPE, text=True, errors="replace", **pipes
                )
            with self._child.stderr as said:
                for line in said:
                    self._said.append(line)
                    if found := LISTENS.search(line):
                        self._tell((found[1], int(found[2])))
            self._child.wait()
            self._tell(None)

    def _tell(self, address):
        with self._changed:
            self._address = address
            self._changed.notify_all()
