"""The dashboards as Grafana reads them: panels, queries, variables."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards"
NAMES = ("run.json", "cluster.json")


def load(name):
    return json.loads((FOLDER / name).read_text())


def panels(dashboard):
    """All panels, those in closed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(dashboard):
    """(what it is for, PromQL, whether it asks for one moment only) of everything that is asked."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target["instant"]


def filled(text, values):
    """A query with its variables filled in. The built-in ones are as for a panel of some minutes' width."""
    for name, value in {"__rate_interval": "4s", "__interval": "1s", "__range": "60s", **values}.items():
        text = text.replace(f"${name}", value).replace(f"${{{name}}}", value)
    return text
