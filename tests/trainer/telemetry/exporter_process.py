"""The program export_metrics and a Pushgateway as processes, and what tests of them need: ports, HTTP, patience."""

import contextlib
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))
from free_ports import free_ports

TIME_LIMIT_SECONDS = 30


def environment():
    """Ours without proxies: all peers are on this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


class Exporter:
    """The driver program, told what to do by lines. `limit_seconds`: for each answer."""

    def __init__(self, program, limit_seconds=TIME_LIMIT_SECONDS, **options):
        self._limit_seconds = limit_seconds
        self.process = subprocess.Popen([program, *(f"{key}={value}" for key, value in options.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment())
        self.warnings = []
        self._answers = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.started = self._answer() is not None

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                (self.warnings if line.startswith("warning: ") else self._answers).append(line.strip())
                self._changed.notify()
        with self._changed:
            self._answers.append(None)
            self._changed.notify()

    def _answer(self):
        with self._changed:
            if not self._changed.wait_for(lambda: self._answers, self._limit_seconds):
                raise AssertionError("the exporter says nothing")
            return self._answers.pop(0)

    def tell(self, line):
        """How many seconds the exporter took for it."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if answer is None:
            raise AssertionError(f"the exporter ended: {self.process.wait()} {self.process.stderr.read()}")
        return float(answer.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(TIME_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()


def free_port():
    port, = free_ports(1)
    return port


def fetch(url, authorization=None):
    """(status, body)"""
    request = urllib.request.Request(url)
    if authorization is not None:
        request.add_header("Authorization", authorization)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(condition, what):
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {TIME_LIMIT_SECONDS} s for {what}")
        time.sleep(0.02)
    return result


class Gateway:
    """A real Pushgateway."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        wait_for(self._ready, "the Pushgateway")

    def _ready(self):
        try:
            return fetch(f"{self.url}/-/ready")[0] == 200
        except OSError:
            return False

    def metrics(self):
        return fetch(f"{self.url}/metrics")[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
