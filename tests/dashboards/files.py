"""Rules, dashboards and examples as files: promtool's and Grafana's own checks, and that all of them speak of the same
metrics.
"""

import importlib.util
import enum
import json
import re
import shutil
import subprocess
import sys
import tempfile
import types
import typing
import unittest

sys.dont_write_bytecode = True
import grafana  # noqa: E402

SKIPPED = 77


def promtool(test, *arguments, folder=grafana.FOLDER):
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=folder)
    test.assertEqual(result.returncode, 0, result.stdout + result.stderr)
    return result.stdout


class Prometheus(unittest.TestCase):
    def test_rules(self):
        promtool(self, "check", "rules", "--lint=all", "--lint-fatal", "prometheus-rules.yml")
        promtool(self, "test", "rules", "prometheus-rules-test.yml")

    def test_each_alert_is_seen_to_fire_and_not_to_fire(self):
        alerts = re.findall(r"- alert: (\w+)", (grafana.FOLDER / "prometheus-rules.yml").read_text())
        self.assertGreaterEqual(len(alerts), 8)
        tests = (grafana.FOLDER / "prometheus-rules-test.yml").read_text()
        for alert in alerts:
            cases = re.findall(rf"alertname: {alert}\n( +exp_alerts:)?", tests)
            self.assertIn("", cases, f"{alert} is nowhere quiet")
            self.assertTrue([case for case in cases if case], f"{alert} fires nowhere")

    def test_a_rule_that_is_wrong_is_noticed(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(grafana.FOLDER / "prometheus-rules-test.yml", folder)
            rules = (grafana.FOLDER / "prometheus-rules.yml").read_text()
            with open(f"{folder}/prometheus-rules.yml", "w") as file:
                file.write(rules.replace("ratio > 0.1", "ratio > 0.3"))
            result = subprocess.run(["promtool", "test", "rules", "prometheus-rules-test.yml"], cwd=folder,
                                    capture_output=True, text=True, timeout=60)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("TrainerDataBound", result.stdout + result.stderr)

    def test_the_example_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("prometheus.yml", "prometheus-rules.yml"):
                shutil.copy(grafana.FOLDER / name, folder)
            with open(f"{folder}/trainer-password", "w") as file:
                file.write("secret")
            promtool(self, "check", "config", "prometheus.yml", folder=folder)

    def test_metrics_are_those_of_the_documentation(self):
        known = set(re.findall(r"^\| `(trainer_\w+)`", (grafana.ROOT / "docs/metrics.md").read_text(), re.M))
        self.assertGreater(len(known), 40)
        recorded = r"(?<![\w:])trainer_\w+"  # run:trainer_loss:avg30m is a rule's, not ours
        texts = {name: (grafana.FOLDER / name).read_text() for name in ("prometheus-rules.yml",
                                                                        "prometheus-rules-test.yml")}
        texts |= {name: "\n".join(query for _, query, _ in grafana.queries(grafana.load(name)))
                  for name in grafana.NAMES}
        for name, text in texts.items():
            used = set(re.findall(recorded, text))
            self.assertGreater(len(used), 8, name)
            self.assertEqual(used - known, set(), name)


def encoded(decoded):
    from grafana_foundation_sdk.cog import encoder
    return json.loads(json.dumps(decoded, cls=encoder.JSONEncoder))


def wrong_types(value, hint, path):
    """Where `value`, decoded from JSON, is not what the schema's type says."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (object, typing.Any):
        # A panel's options and queries are of the type that its plugin's schema has.
        return wrong_types(value, type(value), path) if type(value).__module__.startswith("grafana_") else []
    if origin in (typing.Union, types.UnionType):
        options = [wrong_types(value, argument, path) for argument in arguments]
        return [] if [] in options else options[0]
    if origin is typing.Literal:
        return [] if value in arguments else [f"{path}: {value!r} is none of {arguments}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [wrong for i, item in enumerate(value) for wrong in wrong_types(item, arguments[0], f"{path}[{i}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no object"]
        return [wrong for key, item in value.items() for wrong in wrong_types(item, arguments[1], f"{path}.{key}")]
    if hint is type(None):
        return [] if value is None else [f"{path}: {value!r} is not null"]
    if issubclass(hint, enum.Enum):
        return [] if value in list(hint) else [f"{path}: {value!r} is no {hint.__name__}"]
    if hint in (int, float):
        numbers = (int,) if hint is int else (int, float)
        return [] if isinstance(value, numbers) and not isinstance(value, bool) else [f"{path}: {value!r} is no number"]
    if hint in (str, bool):
        return [] if isinstance(value, hint) else [f"{path}: {value!r} is no {hint.__name__}"]
    if isinstance(value, dict) and hasattr(hint, "from_json"):  # the decoder leaves some as they are
        decoded = hint.from_json(value)
        return lost(value, encoded(decoded), path) + wrong_types(decoded, hint, path)
    if not isinstance(value, hint):
        return [f"{path}: {value!r} is no {hint.__name__}"]
    actual = type(value)
    return [wrong for name, its_hint in typing.get_type_hints(actual, vars(sys.modules[actual.__module__])).items()
            if name in vars(value) for wrong in wrong_types(vars(value)[name], its_hint, f"{path}.{name}")]


def lost(given, kept, path=""):
    """What the schema does not know and so has dropped."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [line for key, value in given.items()
                for line in (lost(value, kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [line for i, pair in enumerate(zip(given, kept)) for line in lost(*pair, f"{path}[{i}]")]
    return [] if given == kept else [f"{path}: {given!r} became {kept!r}"]


class Grafana(unittest.TestCase):
    """The schema is that of Grafana's foundation SDK, generated from Grafana's sources."""

    @classmethod
    def setUpClass(cls):
        from grafana_foundation_sdk.cog import plugins
        from grafana_foundation_sdk.models import common, dashboard, timeseries
        plugins.register_default_plugins()
        cls.model = dashboard.Dashboard
        # What each plugin adds to its fields' configuration; a stat or a gauge nothing.
        cls.custom = {"timeseries": timeseries.FieldConfig, "table": common.TableFieldOptions}

    def check(self, content):
        """All that is wrong with a dashboard."""
        decoded = self.model.from_json(content)
        wrong = lost(content, encoded(decoded)) + wrong_types(decoded, self.model, "")
        for panel in content["panels"]:
            custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom")
            if custom is not None:
                if panel["type"] not in self.custom:
                    wrong.append(f"{panel['title']}: {panel['type']} has no custom fields")
                else:
                    wrong += wrong_types(custom, self.custom[panel["type"]], panel["title"])
        return wrong

    def test_schema(self):
        for name in grafana.NAMES:
            self.assertEqual(self.check(grafana.load(name)), [], name)

    def test_the_check_sees_what_is_wrong(self):
        for place, value in ((("panels", 1, "transparant"), True), (("panels", 1, "options", "graphmode"), "area"),
                             (("panels", 1, "options", "graphMode"), "aera"), (("panels", 1, "title"), 3),
                             (("panels", 1, "targets", 0, "exp"), "up"), (("panels", 1, "gridPos", "w"), "4"),
                             (("panels", 1, "fieldConfig", "defaults", "colour"), {}), (("tags",), "x"),
                             (("panels", 8, "fieldConfig", "defaults", "custom", "lineWidht"), 2),
                             (("panels", 8, "fieldConfig", "defaults", "custom", "showPoints"), "nevr"),
                             (("templating", "list", 1, "refresh"), 9), (("templating", "list", 1, "multy"), True),
                             (("panels", 1, "transformations"), [{"id": "merge", "option": {}}])):
            content = grafana.load("run.json")
            spot = content
            for key in place[:-1]:
                spot = spot[key]
            spot[place[-1]] = value
            self.assertNotEqual(self.check(content), [], place)

    def test_they_are_what_the_script_writes(self):
        spec = importlib.util.spec_from_file_location("make_dashboards", grafana.FOLDER / "make_dashboards.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        for name, content in (("run.json", script.run_dashboard()), ("cluster.json", script.cluster_dashboard())):
            self.assertEqual(grafana.load(name), content, f"run dashboards/make_dashboards.py: {name} is older")

    def test_units_are_known_to_grafana(self):
        from grafana_foundation_sdk.models import units
        known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
        self.assertGreater(len(known), 100)
        for name in grafana.NAMES:
            for panel in grafana.panels(grafana.load(name)):
                config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
                used = [config["defaults"].get("unit", "short")]
                used += [item["value"] for each in config["overrides"] for item in each["properties"]
                         if item["id"] == "unit"]
                self.assertLessEqual(set(used), known, panel["title"])

    def test_panels_do_not_overlap_and_can_be_told_apart(self):
        for name in grafana.NAMES:
            taken, titles, ids = {}, [], []
            for panel in grafana.panels(grafana.load(name)):
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
                for x in range(place["x"], place["x"] + place["w"]):
                    for y in range(place["y"], place["y"] + place["h"]):
                        self.assertNotIn((x, y), taken, f"{panel['title']} lies on {taken.get((x, y))}")
                        taken[x, y] = panel["title"]
                ids.append(panel["id"])
                if panel["type"] != "row":
                    titles.append(panel["title"])
                    self.assertTrue(panel["targets"], panel["title"])
            self.assertEqual(len(set(titles)), len(titles), name)
            self.assertEqual(len(set(ids)), len(ids), name)

    def test_links_lead_to_dashboards(self):
        uids = {grafana.load(name)["uid"] for name in grafana.NAMES}
        for name in grafana.NAMES:
            linked = re.findall(r'"/d/([\w-]+)', (grafana.FOLDER / name).read_text())
            self.assertTrue(linked, name)
            self.assertLessEqual(set(linked), uids)


if __name__ == "__main__":
    if shutil.which("promtool") is None:
        print("skipped: there is no promtool (scripts/test_packages.txt)")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
