#!/usr/bin/env python3
"""Writes run.json and cluster.json beside itself: Grafana's JSON is too long to be kept by hand.

Change a panel here, run this, and commit both. A test sees that they agree, that the JSON is what Grafana's schema allows,
and that every query has an answer.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"
PHASE_COLOURS = {
    "data_wait": "red", "host_to_device": "orange", "forward": "green", "backward": "dark-green",
    "exposed_communication": "purple", "optimizer": "yellow", "checkpoint": "blue", "validation": "light-blue",
}
STATE_COLOURS = {"running": GREEN, "finished": BLUE, "stopped": ORANGE, "failed": RED}


def query(expr, legend="", instant=False, table=False):
    target = {"datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto",
              "instant": instant, "range": not instant}
    return {**target, "format": "table"} if table else target


def thresholds(*steps):
    """thresholds(GREEN, (0.1, RED)): green, and red from 0.1 on."""
    return {"mode": "absolute", "steps": [{"value": None, "color": steps[0]},
                                          *({"value": value, "color": colour} for value, colour in steps[1:])]}


def override(name, **properties):
    """Settings of the series or column `name`; custom__width means custom.width."""
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]}


def colours(names):
    return [override(name, color={"mode": "fixed", "fixedColor": colour}) for name, colour in names.items()]


def panel(kind, title, description, queries, options, defaults, overrides=(), width=8, height=8, transformations=()):
    targets = [{**each, "refId": chr(ord("A") + i)} for i, each in enumerate(queries)]
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "options": options, "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
            "transformations": list(transformations), "gridPos": {"w": width, "h": height, "x": 0, "y": 0}}


def graph(title, description, queries, unit="short", stacked=False, log=False, limit=None, table=False, overrides=(),
          low=None, high=None, **size):
    custom = {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1 if stacked else 2,
              "fillOpacity": 60 if stacked else 8, "gradientMode": "none" if stacked else "opacity", "showPoints": "never",
              "spanNulls": False, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
              "thresholdsStyle": {"mode": "off" if limit is None else "dashed"}}
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": custom}
    if limit is not None:
        defaults["thresholds"] = thresholds("transparent", (limit, RED))
    if low is not None:
        defaults["min"] = low
    if high is not None:
        defaults["max"] = high
    options = {"legend": {"displayMode": "table" if table else "list", "placement": "bottom", "showLegend": True,
                          "calcs": ["mean", "lastNotNull"] if table else []},
               "tooltip": {"mode": "multi", "sort": "desc" if stacked else "none"}}
    return panel("timeseries", title, description, queries, options, defaults, overrides, **size)


def stat(title, description, queries, unit="short", text="auto", area=True, steps=(BLUE,), decimals=None, overrides=(),
         empty=None, width=4, height=4):
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds(*steps)}
    if decimals is not None:
        defaults["decimals"] = decimals
    if empty is not None:
        defaults["noValue"] = empty
    options = {"reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""}, "orientation": "auto",
               "textMode": text, "colorMode": "value", "graphMode": "area" if area else "none", "justifyMode": "auto"}
    return panel("stat", title, description, queries, options, defaults, overrides, width=width, height=height)


def gauge(title, description, queries, unit, steps, width=4, height=4):
    options = {"reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""}, "orientation": "auto",
               "showThresholdLabels": False, "showThresholdMarkers": True}
    defaults = {"unit": unit, "min": 0, "max": 1, "color": {"mode": "thresholds"}, "thresholds": thresholds(*steps)}
    return panel("gauge", title, description, queries, options, defaults, width=width, height=height)


def table(title, description, queries, columns, overrides, sort=None, **size):
    """`columns`: {field: its heading}, in their order; all other fields are hidden."""
    organize = {"id": "organize", "options": {
        "excludeByName": {}, "indexByName": {name: i for i, name in enumerate(columns)}, "renameByName": columns}}
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}}
    if sort is not None:
        options["sortBy"] = [{"displayName": sort, "desc": False}]
    keep = {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}}
    merge = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    return panel("table", title, description, queries, options,
                 {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
                  "color": {"mode": "thresholds"}, "thresholds": thresholds("text")}, overrides,
                 transformations=[*merge, keep, organize], **size)


def row(title, *panels):
    return {"type": "row", "title": title, "collapsed": False, "panels": []}, panels


def variable(name, label, text, **options):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "refresh": 2, "sort": 3, "hide": 0,
            "query": {"query": text, "refId": name}, "definition": text, **options}


def arrange(rows):
    """Numbers the panels and puts them side by side, 24 columns wide."""
    laid_out, y = [], 0
    for heading, panels in rows:
        laid_out.append({**heading, "gridPos": {"w": 24, "h": 1, "x": 0, "y": y}})
        x, y, height = 0, y + 1, 0
        for each in panels:
            place = each["gridPos"]
            if x + place["w"] > 24:
                x, y, height = 0, y + height, 0
            laid_out.append({**each, "gridPos": {**place, "x": x, "y": y}})
            x, height = x + place["w"], max(height, place["h"])
        y += height
    return [{"id": i + 1, **each} for i, each in enumerate(laid_out)]


def dashboard(uid, title, description, variables, rows, links, annotations, span):
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1,
              "hide": 0, "multi": False, "includeAll": False}
    variables = [{key: value for key, value in each.items() if key != "definition"} for each in variables]
    return {"uid": uid, "title": title, "description": description, "tags": ["trainer"], "editable": True,
            "graphTooltip": 1, "schemaVersion": 38, "version": 1, "refresh": "10s", "timezone": "browser",
            "time": {"from": f"now-{span}", "to": "now"}, "templating": {"list": [source, *variables]},
            "annotations": {"list": annotations}, "links": links, "panels": arrange(rows)}


def annotation(name, expr, colour):
    return {"name": name, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": colour, "expr": expr}


def phases_share(selector):
    return query(f"sum by (phase) (rate(trainer_phase_seconds_total{selector}[$__rate_interval]))", "{{phase}}")


def run_dashboard():
    of_run, of_ranks = '{run="$run"}', '{run="$run", rank=~"$rank"}'

    def ranks_phase(phase):
        return (f'trainer_rank_phase_seconds{{run="$run", rank=~"$rank", phase="{phase}"}} '
                f"/ ignoring (phase) trainer_rank_step_seconds{of_ranks}")

    return dashboard(
        "trainer-run", "Training run", "One run of trainer: what it learns, how fast, and what holds it up.",
        [variable("run", "Run", "label_values(trainer_run_info, run)", multi=False, includeAll=False),
         variable("rank", "Rank", 'label_values(trainer_rank_info{run="$run"}, rank)', multi=True, includeAll=True,
                  allValue=".*", current={"selected": True, "text": ["All"], "value": ["$__all"]})],
        [
            row("Run",
                stat("State", "Whether the run goes on. A run without data has ended or cannot be reached.",
                     [query(f"trainer_run_state{of_run} == 1", "{{state}}")], text="name", area=False,
                     overrides=colours(STATE_COLOURS), empty="no data"),
                gauge("Progress", "Steps done of those planned.",
                      [query(f"trainer_step{of_run} / trainer_planned_steps{of_run}")], "percentunit", (BLUE,)),
                stat("Time left", "Expected time to the last step.", [query(f"trainer_remaining_seconds{of_run}")], "s"),
                stat("Last step", "How long ago the last step ended, as of the last log line. Much more than a log "
                     "interval means that the run hangs.",
                     [query(f"time() - trainer_last_step_timestamp_seconds{of_run}")], "s",
                     steps=(GREEN, (120, YELLOW), (600, RED)), decimals=0),
                stat("Validation accuracy", "Of the last validation.", [query(f"trainer_valid_accuracy_ratio{of_run}")],
                     "percentunit", decimals=1, steps=(GREEN,)),
                stat("Slowest rank", "The rank that works longest, its host, and how many times as long as the median rank "
                     "it works.", [query(f"trainer_straggler_ratio{of_run}", "rank {{rank}} on {{host}}")],
                     text="value_and_name", decimals=2, steps=(GREEN, (1.1, YELLOW), (1.2, RED)), area=False)),
            row("Learning",
                graph("Loss", "Mean over each log interval, and of each validation.",
                      [query(f"trainer_loss{of_run}", "training"), query(f"trainer_valid_loss{of_run}", "validation")],
                      overrides=colours({"training": BLUE, "validation": ORANGE}), table=True),
                graph("Accuracy", "Share of the utterances whose speaker is found: of the crops trained on, and of whole "
                      "validation utterances.",
                      [query(f"trainer_accuracy_ratio{of_run}", "training"),
                       query(f"trainer_valid_accuracy_ratio{of_run}", "validation")], "percentunit", low=0, high=1,
                      overrides=colours({"training": BLUE, "validation": ORANGE}), table=True),
                graph("Learning rate", "As the schedule has it.", [query(f"trainer_learning_rate{of_run}", "learning rate")],
                      "sci", low=0),
                graph("Gradient norm", "Of the last step of each log interval, before clipping. Jumps announce a run that "
                      "diverges.", [query(f"trainer_gradient_norm{of_run}", "gradient norm")], log=True),
                graph("Norm of the weights", "Growing without end: too little weight decay.",
                      [query(f"trainer_weight_norm{of_run}", "weights")]),
                graph("Update over weights", "By what part of their norm a step moves the weights. About a thousandth is "
                      "usual; far more is unstable, far less is slow.",
                      [query(f"trainer_update_norm{of_run} / trainer_weight_norm{of_run}", "update / weights")], "sci",
                      log=True)),
            row("Speed",
                graph("Where the time goes", "Shares of rank 0's time. Communication is what computing does not hide.",
                      [phases_share(of_run)], "percentunit", stacked=True, table=True, low=0, width=12, height=9,
                      overrides=colours(PHASE_COLOURS)),
                graph("A step's phases", "Mean seconds of each phase in a step, on rank 0. What checkpoints and validations "
                      "take is spread over the steps.", [query(f"trainer_step_phase_seconds{of_run}", "{{phase}}")], "s",
                      stacked=True, table=True, low=0, width=12, height=9, overrides=colours(PHASE_COLOURS)),
                graph("Throughput", "Utterances that all ranks train on.",
                      [query(f"trainer_utterances_per_second{of_run}", "utterances / s")], low=0, width=6),
                graph("Audio", "Seconds of audio trained on in a second.",
                      [query(f"trainer_audio_seconds_per_second{of_run}", "times real time")], low=0, width=6),
                graph("Model FLOPs utilisation", "The model's operations over what the devices can do at most. Known for "
                      "GPUs, and where metrics.peak_tflops is set.",
                      [query(f"trainer_model_flops_utilization_ratio{of_run}", "MFU")], "percentunit", low=0, width=6),
                graph("Bus bandwidth", "What the all-reduces make of the network: algorithm bandwidth * 2 (n - 1) / n.",
                      [query(f"trainer_bus_bandwidth_bytes_per_second{of_run}", "bus bandwidth")], "Bps", low=0, width=6)),
            row("Ranks",
                graph("Busy time", "A step's time without waiting for other ranks. The rank on top is the one that all "
                      "others wait for.",
                      [query(f"trainer_rank_busy_seconds{of_ranks} * on (run, rank) group_left (host) "
                             f"trainer_rank_info{of_ranks}", "rank {{rank}} on {{host}}")], "s", table=True),
                graph("Waiting for data", "Share of a step. Above the line the loader holds the run up.",
                      [query(ranks_phase("data_wait"), "rank {{rank}}")], "percentunit", limit=0.1, low=0),
                graph("Waiting for communication", "Share of a step. Where only some ranks wait, the others are late; "
                      "where all do, the network is slow.",
                      [query(ranks_phase("exposed_communication"), "rank {{rank}}")], "percentunit", limit=0.2, low=0),
                graph("Stragglers", "Busy time of the slowest rank over the median rank's.",
                      [query(f"max(trainer_straggler_ratio{of_run})", "slowest / median")], limit=1.2, low=1),
                graph("Memory", "Resident memory of each rank's process.",
                      [query(f"trainer_host_memory_bytes{of_ranks}", "rank {{rank}}")], "bytes", low=0),
                graph("Device memory", "The most that tensors have held, on each rank's GPU.",
                      [query(f"trainer_device_memory_bytes{of_ranks}", "rank {{rank}}")], "bytes", low=0)),
            row("Checkpoints and events",
                stat("Checkpoint age", "What a crash now would cost.",
                     [query(f"time() - trainer_last_checkpoint_timestamp_seconds{of_run}")], "s",
                     steps=(GREEN, (3600, YELLOW), (7200, RED)), decimals=0, empty="none yet"),
                stat("Checkpoints", "Saved since this start.", [query(f"trainer_checkpoints_total{of_run}")], area=False),
                stat("Resumes", "Starts that went on from a checkpoint.", [query(f"trainer_resumes_total{of_run}")],
                     area=False),
                stat("Restarts", "By the launcher, after a failure.", [query(f"trainer_restarts_total{of_run}")], area=False,
                     steps=(GREEN, (1, ORANGE))),
                stat("Non-finite steps", "Whose loss or gradient was no number.",
                     [query(f"trainer_nonfinite_steps_total{of_run}")], area=False, steps=(GREEN, (1, RED))),
                stat("Skipped utterances", "Unreadable ones, left out when the data set was made.",
                     [query(f"trainer_skipped_utterances{of_run}")], area=False, steps=(GREEN, (1, YELLOW)))),
            row("GPU",
                graph("GPU utilisation", "Share of the time in which a kernel ran.",
                      [query(f"trainer_gpu_utilization_ratio{of_ranks}", "rank {{rank}}")], "percentunit", low=0, high=1),
                graph("GPU temperature", "Clocks are held down somewhere above 80 degrees.",
                      [query(f"trainer_gpu_temperature_celsius{of_ranks}", "rank {{rank}}")], "celsius"),
                graph("GPU power", "", [query(f"trainer_gpu_power_watts{of_ranks}", "rank {{rank}}")], "watt", low=0),
                graph("GPU clock", "Of the multiprocessors.", [query(f"trainer_gpu_clock_hertz{of_ranks}", "rank {{rank}}")],
                      "hertz", low=0, width=12),
                graph("GPU throttled", "1 where heat or power hold the clocks down.",
                      [query(f"trainer_gpu_throttled{of_ranks}", "rank {{rank}}")], low=0, high=1, width=12)),
        ],
        [{"title": "All runs", "type": "link", "url": "/d/trainer-cluster", "icon": "dashboard", "tooltip": "", "tags": [],
          "asDropdown": False, "targetBlank": False, "includeVars": False, "keepTime": True}],
        [annotation("Starts", f"time() - trainer_start_timestamp_seconds{of_run} < 30", BLUE),
         annotation("Alerts", 'ALERTS{alertname=~"Trainer.+", alertstate="firing", run="$run"}', RED)],
        "1h")


def cluster_dashboard():
    runs = '{run=~"$run"}'

    def newest(metric):
        return query(f"max by (run) ({metric}{runs})", instant=True, table=True)

    def ratio(function, phase):
        return (f'{function} by (run) (trainer_rank_phase_seconds{{run=~"$run", phase="{phase}"}} '
                f"/ ignoring (phase) trainer_rank_step_seconds{runs})")

    columns = {"run": "Run", "Value #A": "Running", "Value #B": "Progress", "Value #C": "Time left", "Value #D": "Loss",
               "Value #E": "Validation accuracy", "Value #F": "Utterances / s", "Value #G": "Slowest / median",
               "Value #H": "Last step"}
    running = [{"type": "value", "options": {"0": {"text": "no", "color": GREY, "index": 0},
                                             "1": {"text": "yes", "color": GREEN, "index": 1}}}]
    link = [{"title": "Open the run", "url": "/d/trainer-run?var-run=${__value.raw}&${datasource:queryparam}",
             "targetBlank": False}]
    coloured = {"type": "color-text"}
    return dashboard(
        "trainer-cluster", "Training runs", "All runs of trainer that this Prometheus knows.",
        [variable("run", "Run", "label_values(trainer_run_info, run)", multi=True, includeAll=True, allValue=".*",
                  current={"selected": True, "text": ["All"], "value": ["$__all"]})],
        [
            row("Now",
                stat("Running", "Runs that say that they run.",
                     [query(f'count(max by (run) (trainer_run_state{{run=~"$run", state="running"}}) == 1)')], empty="0",
                     steps=(GREEN,), width=5),
                stat("Ranks", "Of all runs together.", [query(f"count(trainer_rank_info{runs})")], empty="0", width=5),
                stat("Utterances / s", "Of all runs together.", [query(f"sum(trainer_utterances_per_second{runs})")],
                     decimals=0, width=5),
                stat("Times real time", "Seconds of audio trained on in a second, of all runs together.",
                     [query(f"sum(trainer_audio_seconds_per_second{runs})")], decimals=0, width=5),
                stat("Alerts", "That are firing; they are listed at the end.",
                     [query('count(ALERTS{alertname=~"Trainer.+", alertstate="firing"}) or vector(0)')], area=False,
                     steps=(GREEN, (1, RED)), width=4),
                table("Runs", "Click on a run to see all of it.",
                      [query(f'max by (run) (trainer_run_state{{run=~"$run", state="running"}})', instant=True, table=True),
                       query(f"max by (run) (trainer_step{runs} / trainer_planned_steps{runs})", instant=True, table=True),
                       newest("trainer_remaining_seconds"), newest("trainer_loss"),
                       newest("trainer_valid_accuracy_ratio"), newest("trainer_utterances_per_second"),
                       newest("trainer_straggler_ratio"),
                       query(f"time() - max by (run) (trainer_last_step_timestamp_seconds{runs})", instant=True,
                             table=True)],
                      columns,
                      [override("Run", links=link),
                       override("Running", mappings=running, custom__cellOptions=coloured),
                       override("Progress", unit="percentunit", min=0, max=1, decimals=1,
                                thresholds=thresholds(BLUE),
                                custom__cellOptions={"type": "gauge", "mode": "basic"}),
                       override("Time left", unit="s"), override("Loss", decimals=3),
                       override("Validation accuracy", unit="percentunit", decimals=1),
                       override("Utterances / s", decimals=0),
                       override("Slowest / median", decimals=2, custom__cellOptions=coloured,
                                thresholds=thresholds(GREEN, (1.1, YELLOW), (1.2, RED))),
                       override("Last step", unit="s", decimals=0, custom__cellOptions=coloured,
                                thresholds=thresholds(GREEN, (120, YELLOW), (600, RED)))],
                      sort="Run", width=24, height=9)),
            row("Learning",
                graph("Training loss", "Mean over each log interval.", [query(f"max by (run) (trainer_loss{runs})", "{{run}}")],
                      table=True, width=12),
                graph("Validation accuracy", "Of each validation.",
                      [query(f"max by (run) (trainer_valid_accuracy_ratio{runs})", "{{run}}")], "percentunit", low=0, high=1,
                      table=True, width=12)),
            row("Speed",
                graph("Throughput", "Utterances that all ranks of a run train on in a second.",
                      [query(f"max by (run) (trainer_utterances_per_second{runs})", "{{run}}")], low=0),
                graph("Step time", "Mean over each log interval.",
                      [query(f"max by (run) (trainer_step_seconds{runs})", "{{run}}")], "s", low=0),
                graph("Model FLOPs utilisation", "The model's operations over what the devices can do at most.",
                      [query(f"max by (run) (trainer_model_flops_utilization_ratio{runs})", "{{run}}")], "percentunit",
                      low=0)),
            row("What holds runs up",
                graph("Waiting for data", "Share of a step, on the rank that waits longest.",
                      [query(ratio("max", "data_wait"), "{{run}}")], "percentunit", limit=0.1, low=0),
                graph("Waiting for communication", "Share of a step, on the rank that waits least: the others also wait for "
                      "late ranks.", [query(ratio("min", "exposed_communication"), "{{run}}")], "percentunit", limit=0.2,
                      low=0),
                graph("Stragglers", "Busy time of the slowest rank over the median rank's.",
                      [query(f"max by (run) (trainer_straggler_ratio{runs})", "{{run}}")], limit=1.2, low=1),
                graph("Checkpoint age", "What a crash would cost.",
                      [query(f"time() - max by (run) (trainer_last_checkpoint_timestamp_seconds{runs})", "{{run}}")], "s",
                      low=0),
                graph("Hottest GPU", "Of each run.",
                      [query(f"max by (run) (trainer_gpu_temperature_celsius{runs})", "{{run}}")], "celsius"),
                table("Firing alerts", "Of the rules in dashboards/prometheus-rules.yml.",
                      [query('ALERTS{alertname=~"Trainer.+", alertstate="firing"}', instant=True, table=True)],
                      {"alertname": "Alert", "run": "Run", "rank": "Rank", "host": "Host", "severity": "Severity"},
                      [override("Run", links=link)], sort="Severity")),
        ],
        [], [annotation("Starts", f"time() - trainer_start_timestamp_seconds{runs} < 30", BLUE)], "6h")


def main():
    for name, content in (("run.json", run_dashboard()), ("cluster.json", cluster_dashboard())):
        (FOLDER / name).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
