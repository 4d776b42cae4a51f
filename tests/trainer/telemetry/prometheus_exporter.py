"""The exporter against real peers: HTTP clients, promtool, Debian's Pushgateway, and gateways that are not there.

Usage: prometheus_exporter.py EXPORT_METRICS METRICS_MD [unittest's options]
"""

import base64
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from exporter_process import TIME_LIMIT_SECONDS, Exporter, Gateway, fetch, free_port, wait_for

SKIPPED = 77

_programs = {}


def families(text):
    """{metric: (type, help)}"""
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
    return {name: (kind, helps.get(name, "")) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)}


def samples(text):
    """{metric: [({label: value}, number)]}"""
    found = {}
    for name, labels, value in re.findall(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", text, re.M):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))
    return found


def value(text, name, **labels):
    """The one sample that has these labels."""
    (number,) = [number for its, number in samples(text).get(name, []) if labels.items() <= its.items()]
    return number


class ExporterTestCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="exporter-test-")
        self.addCleanup(folder.cleanup)
        self.scratch = pathlib.Path(folder.name)

    def start(self, **options):
        """An exporter that lives as long as the test."""
        exporter = Exporter(_programs["exporter"], **{"run": "mine", "run_dir": self.scratch, **options})
        self.addCleanup(exporter.__exit__)
        self.assertTrue(exporter.started, exporter.process.poll())
        return exporter

    def url(self):
        return (self.scratch / "metrics_endpoint").read_text().strip()

    def refuse(self, **options):
        """The error of an exporter that must not start."""
        with Exporter(_programs["exporter"], **{"run": "mine", "run_dir": self.scratch, **options}) as exporter:
            self.assertFalse(exporter.started)
            self.assertEqual(exporter.process.wait(TIME_LIMIT_SECONDS), 2)
            error = exporter.process.stderr.read()
        self.assertEqual(error.count("\n"), 1, error)
        return error

    def promtool(self, text):
        result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                timeout=TIME_LIMIT_SECONDS)
        self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""), text)


class Metrics(ExporterTestCase):
    def documented(self):
        """{metric: (type, [labels], meaning)} of docs/metrics.md."""
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]+ \| ([^|]+) \| (.+) \|$", _programs["doc"].read_text(), re.M)
        return {name: (kind, labels.split(", "), meaning) for name, kind, labels, meaning in rows}

    def test_documentation_and_endpoint_hold_the_same_metrics(self):
        exporter = self.start(address="0")
        exporter.tell("update 20 0.5")
        text = fetch(self.url())[1]
        served = families(text)
        documented = self.documented()
        self.assertGreater(len(documented), 40)
        self.assertEqual(set(served), set(documented))
        found = samples(text)
        for name, (kind, labels, meaning) in documented.items():
            self.assertEqual(served[name], (kind, meaning), name)
            if name != "trainer_run_info":
                for its_labels, _ in found[name]:
                    self.assertEqual(sorted(its_labels), sorted(labels), name)
            for its_labels, _ in found[name]:
                self.assertEqual(its_labels["run"], "mine")

    def test_promtool_has_no_remark(self):
        exporter = self.start(address="0")
        self.promtool(fetch(self.url())[1])
        exporter.tell("update 20 nan")
        self.promtool(fetch(self.url())[1])

    def test_values(self):
        exporter = self.start(address="0", run='a/b "c"\n')
        exporter.tell("update 20 0.5")
        exporter.tell("update 30 0.4")
        text = fetch(self.url())[1]
        for name, expected in {
                "trainer_step": 30, "trainer_planned_steps": 1000, "trainer_loss": 0.4, "trainer_accuracy_ratio": 0.5,
                "trainer_learning_rate": 0.002, "trainer_audio_seconds_per_second": 1008,
                "trainer_utterances_total": 960, "trainer_restarts_total": 2, "trainer_resumes_total": 1,
                "trainer_stop_signals_total": 4, "trainer_checkpoints_total": 5, "trainer_skipped_utterances": 6,
                "trainer_last_step_timestamp_seconds": 1.7e9 + 0.5, "trainer_last_checkpoint_timestamp_seconds": 1.7e9,
                "trainer_valid_loss": 0.75, "trainer_valid_accuracy_ratio": 0.625,  # of line 20: 30 has none
                "trainer_rank_figures_step": 20, "trainer_model_flops_utilization_ratio": 0.4,
        }.items():
            self.assertEqual(value(text, name), expected, name)
        self.assertEqual(value(text, "trainer_run_info", version="0.1.0", config="tiny.yaml"), 1)
        self.assertEqual(value(text, "trainer_run_state", state="running"), 1)
        self.assertEqual(value(text, "trainer_run_state", state="failed"), 0)
        self.assertEqual(value(text, "trainer_phase_seconds_total", phase="forward"), 30)
        self.assertAlmostEqual(value(text, "trainer_rank_phase_seconds", rank="1", phase="backward"), 0.008)
        busy = 0.001 + 0.002 + 0.003 + 0.004 + 0.006  # all phases of a step but communication, the fifth
        self.assertAlmostEqual(value(text, "trainer_rank_busy_seconds", rank="0"), busy)
        self.assertEqual(value(text, "trainer_gpu_throttled", rank="1"), 1)
        # The slowest rank works twice as long as the other one, so 4/3 of the median; its host's name is odd.
        host = 'node\\"b\\"\N{REPLACEMENT CHARACTER}'
        self.assertAlmostEqual(value(text, "trainer_straggler_ratio", rank="1", host=host), 4 / 3)
        self.assertIn(r'run="a/b \"c\"\n"', text)

    def test_without_a_gpu_its_metrics_are_absent(self):
        exporter = self.start(address="0", gpu=0)
        exporter.tell("update 20 0.5")
        names = families(fetch(self.url())[1])
        for name in ("trainer_gpu_utilization_ratio", "trainer_gpu_throttled", "trainer_device_memory_bytes",
                     "trainer_model_flops_utilization_ratio"):
            self.assertNotIn(name, names)
        self.assertIn("trainer_host_memory_bytes", names)

    def test_before_the_first_log_line(self):
        self.start(address="0")
        text = fetch(self.url())[1]
        self.assertEqual(value(text, "trainer_run_state", state="running"), 1)
        self.assertLess(abs(value(text, "trainer_start_timestamp_seconds") - time.time()), TIME_LIMIT_SECONDS)
        self.assertNotIn("trainer_loss", text)


class Endpoint(ExporterTestCase):
    def test_forms_of_addresses(self):
        for form in ("{}", ":{}", "127.0.0.1:{}", "localhost:{}"):
            port = free_port()
            exporter = self.start(address=form.format(port))
            self.assertEqual(self.url(), f"http://127.0.0.1:{port}/metrics")
            self.assertEqual(fetch(self.url())[0], 200)
            exporter.tell("finish finished")
            self.assertFalse((self.scratch / "metrics_endpoint").exists())
            with self.assertRaises(OSError):
                fetch(f"http://127.0.0.1:{port}/metrics")
            self.assertEqual(exporter.warnings, [])

    def test_no_address_no_endpoint(self):
        (self.scratch / "metrics_endpoint").write_text("http://127.0.0.1:1/metrics\n")  # of a run that was killed
        for address in ("", "none"):
            self.start(address=address).tell("update 10 1")
            self.assertFalse((self.scratch / "metrics_endpoint").exists())

    def test_a_busy_port_gives_way(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            exporter = self.start(address=f"127.0.0.1:{port}")
            match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/metrics", self.url())
            self.assertTrue(port < int(match.group(1)) <= port + 100, self.url())
            self.assertEqual(fetch(self.url())[0], 200)
            wait_for(lambda: exporter.warnings, "the warning")
            self.assertEqual(exporter.warnings, [f"warning: metrics.prometheus.address: port {port} is taken, so the "
                                                 f"metrics are at {self.url()}"])

    def test_runs_that_start_at_once_share_no_port(self):
        port = free_port()
        urls, exporters = [], []

        def start(number):
            folder = self.scratch / str(number)
            folder.mkdir()
            exporters.append(self.start(address=port, run_dir=folder, run=number))
            urls.append(((folder / "metrics_endpoint").read_text().strip(), number))

        threads = [threading.Thread(target=start, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({url for url, _ in urls}), 6, urls)
        for url, number in urls:
            self.assertEqual(value(fetch(url)[1], "trainer_run_state", state="running", run=str(number)), 1)

    def test_addresses_that_cannot_be(self):
        for address in ("x", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "-1", "1:2:3", "127.0.0.1:80:90"):
            self.assertIn(f"error: metrics.prometheus.address: '{address}' is no address; set it to host:port",
                          self.refuse(address=address))
        # A name server that does not answer is asked again, and then the next one.
        self.assertIn("cannot find the address of 'no.such.host.invalid'",
                      self.refuse(address="no.such.host.invalid:9400", limit_seconds=200))
        # Reserved for documentation: no machine has it.
        self.assertIn("cannot listen on 192.0.2.1:9400: Cannot assign requested address",
                      self.refuse(address="192.0.2.1:9400"))
        self.assertIn("cannot write", self.refuse(address="0", run_dir=self.scratch / "nowhere"))
        self.assertEqual(list(self.scratch.iterdir()), [])

    def test_all_addresses_without_a_password(self):
        port = free_port()
        exporter = self.start(address=f"0.0.0.0:{port}")
        self.assertEqual(self.url(), f"http://{socket.gethostname()}:{port}/metrics")
        self.assertEqual(fetch(f"http://127.0.0.1:{port}/metrics")[0], 200)
        wait_for(lambda: exporter.warnings, "the warning")
        self.assertIn(f"everyone who reaches 0.0.0.0:{port} can read the metrics", exporter.warnings[0])

    def test_password(self):
        secret = self.scratch / "secret"
        secret.write_text("ann:b:c\n")
        secret.chmod(0o600)
        exporter = self.start(address="0", auth_file=secret)
        exporter.tell("update 10 1")

        def basic(text):
            return "Basic " + base64.b64encode(text.encode()).decode()

        for suffix in ("", "/", "/more", "?x=1"):
            for authorization in (None, "", "Basic", "Basic ", "Basic !", "Basic YQ", "Bearer x", "Basic " + "A" * 6000,
                                  basic("ann"), basic("ann:"), basic("ann:b"), basic("bob:b:c"), basic(":b:c")):
                status, body = fetch(self.url() + suffix, authorization)
                self.assertIn(status, (401, 404) if suffix else (401,), (suffix, authorization))
                self.assertNotIn("trainer_", body)
        status, body = fetch(self.url(), basic("ann:b:c"))
        self.assertEqual((status, value(body, "trainer_step")), (200, 10))
        self.assertEqual(exporter.warnings, [])

    def test_password_files(self):
        secret = self.scratch / "secret"
        self.assertIn("cannot be read", self.refuse(address="0", auth_file=secret))
        for content in ("", "ann", ":b", "ann:", "ann:b\nbob:c\n"):
            secret.write_text(content)
            self.assertIn(f"metrics.prometheus.auth_file: {secret} must hold one line user:password",
                          self.refuse(address="0", auth_file=secret))
        secret.write_text("ann:b")
        secret.chmod(0o644)
        exporter = self.start(address="0", auth_file=secret)
        wait_for(lambda: exporter.warnings, "the warning")
        self.assertIn("others can read the password", exporter.warnings[0])

    def test_only_metrics_are_served(self):
        self.start(address="0")
        base = self.url().removesuffix("/metrics")
        for path in ("/", "/etc/passwd", "/../../etc/passwd", "/metric"):
            self.assertEqual(fetch(base + path)[0], 404, path)

    def test_clients_that_behave_badly(self):
        exporter = self.start(address="0")
        exporter.tell("update 20 0.5")
        port = int(self.url().split(":")[2].split("/")[0])
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        for number in range(60):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall([request, request[:20], b"\xff\x00" * 500, b"GET /" + b"a" * 40000][number % 4])
                # Hangs up with what it was sent unread: the server's next write meets a reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # One that says nothing at all, for each of the server's threads.
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            self.assertLess(exporter.tell("update 30 0.5"), 1)
            self.assertEqual(value(fetch(self.url())[1], "trainer_step"), 30)
        # One that never ends its request, a byte now and then.
        with socket.create_connection(("127.0.0.1", port)) as drip:
            start = time.monotonic()
            drip.sendall(request[:20])
            with self.assertRaises(OSError):
                while time.monotonic() < start + 10:
                    drip.sendall(b"a")
                    time.sleep(0.1)
            self.assertLess(time.monotonic() - start, 5)
        # One that sends a line without an end: it is told so, and is not listened to for long.
        with socket.create_connection(("127.0.0.1", port)) as big:
            big.settimeout(TIME_LIMIT_SECONDS)
            big.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20000)
            self.assertIn(b" 431 ", big.recv(100))
        with socket.create_connection(("127.0.0.1", port)):
            self.assertLess(exporter.tell("finish finished"), 1)
        self.assertIsNone(exporter.process.poll())

    def test_its_threads_get_no_signals(self):
        exporter = self.start(address="0", textfile=self.scratch / "run.prom")
        blocked = {}
        for task in pathlib.Path(f"/proc/{exporter.process.pid}/task").iterdir():
            mask = re.search(r"^SigBlk:\s*(\w+)$", (task / "status").read_text(), re.M).group(1)
            blocked[int(task.name)] = int(mask, 16)
        self.assertGreaterEqual(len(blocked), 3, "one that serves, one that writes")
        for thread, mask in blocked.items():
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGPIPE):
                self.assertEqual(bool(mask >> (number - 1) & 1), thread != exporter.process.pid, (thread, number))


class Push(ExporterTestCase):
    def test_a_real_pushgateway(self):
        with Gateway(free_port()) as gateway:
            exporter = self.start(pushgateway=gateway.url.removeprefix("http://"), push_seconds=0.1, run="runs/päivä")
            exporter.tell("update 20 0.5")
            wait_for(lambda: "trainer_loss" in gateway.metrics(), "a push")
            text = gateway.metrics()
            self.assertEqual(value(text, "trainer_loss", job="trainer", run="runs/päivä"), 0.5)
            self.assertEqual(value(text, "push_failure_time_seconds", job="trainer"), 0)
            # What ends a run right after arrives, too: a loss that is no number, and the state.
            exporter.tell("update 21 nan")
            exporter.tell("nonfinite")
            self.assertLess(exporter.tell("finish failed"), 5)
            text = gateway.metrics()
            self.assertNotEqual(value(text, "trainer_loss"), value(text, "trainer_loss"), "not a NaN")
            self.assertEqual(value(text, "trainer_nonfinite_steps_total"), 1)
            self.assertEqual(value(text, "trainer_run_state", state="failed"), 1)
            self.assertEqual(value(text, "trainer_run_state", state="running"), 0)
            self.assertEqual(exporter.warnings, [])

    def test_a_run_that_is_shorter_than_the_interval(self):
        with Gateway(free_port()) as gateway:
            exporter = self.start(pushgateway=gateway.url + "/", push_seconds=3600)
            exporter.tell("update 20 0.5")
            exporter.tell("finish finished")
            self.assertEqual(value(gateway.metrics(), "trainer_step"), 20)

    def test_a_gateway_that_comes_and_goes(self):
        port = free_port()
        exporter = self.start(pushgateway=f"127.0.0.1:{port}", push_seconds=0.05)
        wait_for(lambda: exporter.warnings, "the warning")
        time.sleep(0.5)  # some ten pushes
        self.assertEqual(len(exporter.warnings), 1, exporter.warnings)
        self.assertIn(f"cannot push to http://127.0.0.1:{port}/: ", exporter.warnings[0])
        with Gateway(port) as gateway:
            wait_for(lambda: "trainer_run_info" in gateway.metrics(), "a push")
        wait_for(lambda: len(exporter.warnings) > 1, "the second warning")
        exporter.tell("finish finished")
        self.assertEqual(len(exporter.warnings), 2, exporter.warnings)

    def test_a_gateway_that_never_answers(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            exporter = self.start(pushgateway=f"127.0.0.1:{silent.getsockname()[1]}", push_seconds=0.05)
            for step in range(20):
                self.assertLess(exporter.tell(f"update {step} 0.5"), 0.5)
            self.assertLess(exporter.tell("finish finished"), 15)
        self.assertEqual(len(exporter.warnings), 1, exporter.warnings)
        self.assertIn("Timeout was reached", exporter.warnings[0])

    def test_a_gateway_that_refuses(self):
        with Gateway(free_port()) as gateway:  # which knows no such path
            exporter = self.start(pushgateway=f"{gateway.url}/elsewhere", push_seconds=0.05)
            wait_for(lambda: exporter.warnings, "the warning")
        self.assertIn(f"{gateway.url}/ refuses the metrics: HTTP 404", exporter.warnings[0])

    def test_a_password_comes_from_a_file(self):
        auth = self.scratch / "auth"
        auth.write_text("ann:secret\n")
        auth.chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as server:
            exporter = self.start(pushgateway=f"127.0.0.1:{server.getsockname()[1]}", push_auth_file=auth,
                                  push_seconds=3600)
            exporter.tell("update 1 0.5")
            connection, _ = server.accept()
            with connection:
                request = connection.recv(65536).decode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertIn("Authorization: Basic " + base64.b64encode(b"ann:secret").decode(), request)
        # In the address it would be copied to logs and checkpoints.
        for address in ("http://ann:secret@127.0.0.1:1", "ftp://ann:secret@h"):
            self.assertNotIn("secret", self.refuse(pushgateway=address))

    def test_addresses_that_cannot_be(self):
        for address in ("http://", "ftp://x:1", "x:y:z", "127.0.0.1:99999", "http://x/?y=1", "file:///etc/passwd"):
            self.assertIn(f"error: metrics.prometheus.pushgateway: '{address}' is no address",
                          self.refuse(pushgateway=address))


class Textfile(ExporterTestCase):
    def test_content(self):
        path = self.scratch / "run.prom"
        exporter = self.start(textfile=path)
        self.assertEqual(value(path.read_text(), "trainer_run_state", state="running"), 1)
        self.assertEqual(path.stat().st_mode & 0o444, 0o444, "node_exporter is another user")
        exporter.tell("update 20 0.5")
        wait_for(lambda: "trainer_loss" in path.read_text(), "the figures")
        self.promtool(path.read_text())
        exporter.tell("update 21 nan")
        exporter.tell("nonfinite")
        exporter.tell("finish failed")
        text = path.read_text()
        self.assertEqual(value(text, "trainer_step"), 21)
        self.assertEqual(value(text, "trainer_nonfinite_steps_total"), 1)
        self.assertEqual(value(text, "trainer_run_state", state="failed"), 1)
        self.assertEqual([entry.name for entry in self.scratch.iterdir()], ["run.prom"])
        self.assertEqual(exporter.warnings, [])

    def test_nobody_reads_a_part_of_it(self):
        path = self.scratch / "run.prom"
        exporter = self.start(textfile=path)
        texts, stop = set(), threading.Event()

        def read():
            while not stop.is_set():
                texts.add(path.read_text())

        reader = threading.Thread(target=read)
        reader.start()
        for step in range(1, 200):
            exporter.tell(f"update {step} 0.5")
            time.sleep(0.002)
        exporter.tell("finish finished")
        stop.set()
        reader.join()
        self.assertGreater(len(texts), 5)
        for text in texts:
            self.assertTrue(text.endswith("\n"))
            last = "trainer_gpu_throttled" if "trainer_step{" in text else "trainer_skipped_utterances"
            self.assertIn(last, text.splitlines()[-1])

    def test_a_folder_that_vanishes(self):
        folder = self.scratch / "textfiles"
        folder.mkdir()
        exporter = self.start(textfile=folder / "run.prom")
        shutil.rmtree(folder)
        for step in range(5):
            exporter.tell(f"update {step} 0.5")
            time.sleep(0.02)
        exporter.tell("finish finished")
        self.assertEqual(len(exporter.warnings), 1, exporter.warnings)
        self.assertIn(f"cannot write {folder}/run.prom: No such file or directory", exporter.warnings[0])

    def test_files_that_cannot_be(self):
        self.assertIn("node_exporter reads only files named *.prom", self.refuse(textfile=self.scratch / "run.txt"))
        self.assertIn("metrics.prometheus.textfile: cannot write", self.refuse(textfile=self.scratch / "no/run.prom"))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    _programs.update(exporter=sys.argv[1], doc=pathlib.Path(sys.argv[2]))
    for program in ("promtool", "prometheus-pushgateway"):
        if shutil.which(program) is None:
            print(f"skipped: there is no {program} (scripts/test_packages.txt)")
            sys.exit(SKIPPED)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
