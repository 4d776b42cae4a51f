"""A real Prometheus fetches from a real run of two ranks, and from an exporter that claims to have GPUs; then each query
of both dashboards must have an answer. And what is left of a run that has ended.

Usage: live.py TRAINER MELS EXPORT_METRICS [unittest's options]
"""

import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "trainer/run"), str(TESTS / "trainer/telemetry")]
import grafana  # noqa: E402
import run_trainer  # noqa: E402
from exporter_process import Exporter, Gateway, environment, fetch, free_port, wait_for  # noqa: E402

SKIPPED = 77
# What a run on CPUs cannot fill.
GPU_PANELS = {"Device memory", "GPU utilisation", "GPU temperature", "GPU power", "GPU clock", "GPU throttled",
              "Hottest GPU"}
EVERY_RUN = ".*"

PROMETHEUS_CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}}
rule_files: [{rules}, {folder}/firing.yml]
scrape_configs:
  - job_name: trainer
    file_sd_configs: [{{files: [{folder}/targets.yml], refresh_interval: 1s}}]
  - job_name: claimed
    static_configs: [{{targets: ["{claimed}"]}}]
    basic_auth: {{username: ann, password_file: {folder}/password}}
"""
# Shows that alerts reach the panels that list them.
FIRING = """
groups:
  - name: test
    rules: [{alert: TrainerTest, expr: 'vector(1)', labels: {run: claimed, severity: warning}}]
"""

_exporter = None


class Prometheus:
    """Debian's, for as long as the test."""

    def __init__(self, config, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = open(folder / "prometheus.log", "w+")
        self._process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", "--log.level=warn",
             f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdout=self._log, stderr=subprocess.STDOUT, env=environment())
        wait_for(self._ready, "Prometheus")

    def _ready(self):
        if self._process.poll() is not None:
            self._log.seek(0)
            raise AssertionError(f"Prometheus ended: {self._log.read()}")
        try:
            return fetch(f"{self.url}/-/ready")[0] == 200
        except OSError:
            return False

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, path, **parameters):
        """The data of an answer; an error of the query fails the test."""
        status, text = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}")
        answer = json.loads(text)
        if status != 200 or answer["status"] != "success":
            raise AssertionError(f"{path} {parameters}: {text}")
        return answer["data"]

    def series(self, expr, instant):
        """[(labels, [numbers])] of a panel's query over the last half minute."""
        if instant:
            return [(each["metric"], [float(each["value"][1])]) for each in self.ask("query", query=expr)["result"]]
        now = time.time()
        result = self.ask("query_range", query=expr, start=now - 30, end=now, step="1s")["result"]
        return [(each["metric"], [float(value) for _, value in each["values"]]) for each in result]

    def has_data(self, expr, instant):
        return any(math.isfinite(number) for _, numbers in self.series(expr, instant) for number in numbers)


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="dashboards-test-")
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = folder = pathlib.Path(scratch.name)

        (folder / "secret").write_text("ann:x\n")
        (folder / "secret").chmod(0o600)
        (folder / "password").write_text("x")
        (folder / "firing.yml").write_text(FIRING)
        cls.claimed = Exporter(_exporter, run="claimed", run_dir=folder, address="0", auth_file=folder / "secret")
        cls.addClassCleanup(cls.claimed.__exit__)
        cls.claimed.tell("update 20 0.5")
        address = (folder / "metrics_endpoint").read_text().split("/")[2]
        config = folder / "prometheus.yml"
        config.write_text(PROMETHEUS_CONFIG.format(folder=folder, claimed=address,
                                                   rules=grafana.FOLDER / "prometheus-rules.yml"))
        cls.prometheus = Prometheus(config, folder)
        cls.addClassCleanup(cls.prometheus.stop)

        data = run_trainer.synthesise(folder / "data")
        # Goes on until the test has seen enough.
        cls.job = run_trainer.Job(2, run_trainer.training(
            data, folder / "runs/real", metrics__prometheus__address=f"127.0.0.1:{free_port()}", metrics__peak_tflops=1,
            schedule__total_steps=1000000, train__log_every=10, train__validate_every=50, checkpoint__every=50))
        cls.addClassCleanup(cls.job.__exit__)
        endpoint = folder / "runs/real/metrics_endpoint"
        if not cls.job.wait_until(endpoint.exists, "metrics_endpoint", 0.05):
            raise AssertionError(f"the run has ended: {cls.job.finish()}")
        # As docs/monitoring.md makes a list of all runs.
        recipe = re.search(r"^sed -E .*$", (grafana.ROOT / "docs/monitoring.md").read_text(), re.M).group(0)
        recipe = recipe.replace("/etc/prometheus/targets/trainer.yml", "targets.yml")
        subprocess.run(["bash", "-c", recipe], cwd=folder, check=True, timeout=10)

    def fill(self, dashboard, run):
        """The dashboard's variables: each value that its own query offers, and all of them. [{name: value}]"""
        fillings = [{"run": run}]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            match = grafana.filled(metric, fillings[0])
            offered = wait_for(lambda: self.prometheus.ask(f"label/{label}/values", **{"match[]": match}), match)
            if variable["name"] == "run":
                for name in ("real", "claimed"):
                    wait_for(lambda: name in self.prometheus.ask("label/run/values", **{"match[]": metric}), name)
            elif run != EVERY_RUN:
                self.assertEqual(offered, ["0", "1"], variable["name"])
                fillings = [{**each, variable["name"]: value} for each in fillings
                            for value in ["0", "1", "(0|1)", variable["allValue"]]]
        return fillings

    def check(self, name, run, exempt=frozenset()):
        dashboard = grafana.load(name)
        panels = 0
        for values in self.fill(dashboard, run):
            for title, expr, instant in grafana.queries(dashboard):
                if title in exempt:
                    continue
                panels += 1
                query = grafana.filled(expr, values)
                self.assertNotIn("$", query, title)
                wait_for(lambda: self.prometheus.has_data(query, instant), f"{name}, {title}: {query}")
        for annotation in dashboard["annotations"]["list"]:
            self.prometheus.series(grafana.filled(annotation["expr"], values), False)
        self.assertGreater(panels, 10)
        if exempt:
            print(f"{name}, run {run}: trains on CPUs, so not asked for: {', '.join(sorted(exempt))}")

    def test_run_on_two_ranks(self):
        self.check("run.json", "real", GPU_PANELS)

    def test_run_with_gpus(self):
        self.check("run.json", "claimed")

    def test_cluster(self):
        self.check("cluster.json", "real", GPU_PANELS)
        self.check("cluster.json", "(real|claimed)")
        self.check("cluster.json", EVERY_RUN)

    def test_queries_keep_runs_apart(self):
        for name in grafana.NAMES:
            for values in self.fill(grafana.load(name), "nobody")[:1] if name == "cluster.json" else [
                    {"run": "nobody", "rank": ".*"}]:
                for title, expr, instant in grafana.queries(grafana.load(name)):
                    if "$run" in expr:
                        self.assertFalse(self.prometheus.has_data(grafana.filled(expr, values), instant), title)

    def test_scrapes_and_rules_are_well(self):
        def targets():
            return [(each["health"], each["lastError"]) for each in self.prometheus.ask("targets")["activeTargets"]]

        # On a busy machine a single answer may come too late.
        wait_for(lambda: targets() == [("up", "")] * 2, "both targets to be well")

        def rules():
            found = [rule for group in self.prometheus.ask("rules")["groups"] for rule in group["rules"]]
            return found if all(rule["health"] != "unknown" for rule in found) else None

        found = wait_for(rules, "the rules")
        self.assertGreater(len(found), 10)
        for rule in found:
            self.assertEqual(rule["health"], "ok", rule)

    def test_z_figures_are_those_of_the_run(self):
        """What Prometheus has is what metrics.jsonl has; then the run stops, and its endpoint is gone."""
        names = ("trainer_step", "trainer_loss")

        def figures():
            seen = {name: numbers for name in names
                    for _, numbers in self.prometheus.series(f'{name}{{run="real"}}', False)}
            return seen if len(set(seen.get("trainer_step", []))) > 2 else None

        seen = wait_for(figures, "three log lines")

        def missing():
            """Of what Prometheus has, in the file."""
            lines = [line for line in run_trainer.metrics(self.folder / "runs/real") if "step" in line]
            losses = {f"{loss:.12g}" for loss in seen["trainer_loss"]}
            return (set(seen["trainer_step"]) - {line["step"] for line in lines} |
                    losses - {f"{line['loss']:.12g}" for line in lines})

        # Prometheus may have them before the file.
        wait_for(lambda: not missing(), f"{seen} in metrics.jsonl")
        self.job.signal_mpirun(signal.SIGUSR1)
        self.assertEqual(self.job.finish().code, 75)
        self.assertFalse((self.folder / "runs/real/metrics_endpoint").exists())
        wait_for(lambda: not self.prometheus.series('trainer_step{run="real"}', True), "the end")


class Ends(run_trainer.RunTestCase):
    """What is left of a run that has ended, and runs that cannot begin."""

    def keys(self, **more):
        return {"metrics__prometheus__textfile": self.scratch / "run.prom", "metrics__prometheus__push_seconds": 3600,
                **more}

    def test_finished(self):
        with Gateway(free_port()) as gateway:
            run_trainer.train(self, 2, self.data, self.scratch / "run", **self.keys(
                metrics__prometheus__pushgateway=gateway.url))
            for text in ((self.scratch / "run.prom").read_text(), gateway.metrics()):
                self.assertRegex(text, r'(?m)^trainer_run_state{.*state="finished".*} 1$')
                self.assertRegex(text, r'(?m)^trainer_run_state{.*state="running".*} 0$')
                self.assertRegex(text, r'(?m)^trainer_step{.*run="run".*} 50$')
                self.assertRegex(text, r'(?m)^trainer_steps_total{.*} 50$')
                self.assertRegex(text, r'(?m)^trainer_rank_info{.*rank="1".*} 1$')

    def test_diverged(self):
        with Gateway(free_port()) as gateway:
            result = run_trainer.run(2, run_trainer.training(self.data, self.scratch / "run", **self.keys(
                optimizer__lr=1e30, schedule__warmup_steps=0, metrics__prometheus__pushgateway=gateway.url)))
            self.assertNotIn(result.code, (0, 2, 75), result)
            self.assertIn("diverged", result.err)
            for text in ((self.scratch / "run.prom").read_text(), gateway.metrics()):
                self.assertRegex(text, r'(?m)^trainer_run_state{.*state="failed".*} 1$')
                self.assertRegex(text, r'(?m)^trainer_nonfinite_steps_total{.*} 1$')

    def test_counters_start_anew_where_a_run_goes_on(self):
        run_trainer.train(self, 1, self.data, self.scratch / "run", **self.keys(schedule__total_steps=20))
        run_trainer.train(self, 1, self.data, self.scratch / "run", **self.keys(schedule__total_steps=30))
        text = (self.scratch / "run.prom").read_text()
        for name, number in (("step", 30), ("steps_total", 10), ("resumes_total", 1)):
            self.assertRegex(text, rf"(?m)^trainer_{name}{{.*}} {number}$")

    def test_a_second_run_takes_the_next_port(self):
        port = free_port()
        endpoint = self.scratch / "first/metrics_endpoint"
        with run_trainer.Job(1, run_trainer.training(self.data, self.scratch / "first", schedule__total_steps=10**6,
                                                     metrics__prometheus__address=port)) as first:
            self.assertTrue(first.wait_until(endpoint.exists, "metrics_endpoint", 0.05))
            second = run_trainer.train(self, 1, self.data, self.scratch / "second", metrics__prometheus__address=port)
            self.assertIn(f"port {port} is taken, so the metrics are at http://127.0.0.1:", second.out)
            self.assertEqual(endpoint.read_text(), f"http://127.0.0.1:{port}/metrics\n")
            self.assertEqual(fetch(endpoint.read_text().strip())[0], 200)

    def test_what_cannot_be_is_one_line(self):
        for key, value in (("address", "nowhere"), ("textfile", "x.txt"), ("pushgateway", "ftp://x")):
            result = run_trainer.run(2, run_trainer.training(self.data, self.scratch / "run",
                                                             **{f"metrics__prometheus__{key}": value}))
            self.assertEqual(result.code, 2, result)
            self.assertEqual(len(result.own_lines()), 1, result)
            self.assertIn(f"metrics.prometheus.{key}: ", result.own_lines()[0])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__.strip())
    for program in ("prometheus", "prometheus-pushgateway", "mpirun"):
        if shutil.which(program) is None:
            print(f"skipped: there is no {program} (scripts/test_packages.txt)")
            sys.exit(SKIPPED)
    _exporter = sys.argv.pop(3)
    run_trainer.main()
