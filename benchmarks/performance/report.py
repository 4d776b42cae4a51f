"""From the results of all cells to the tables of docs/performance.md. Nothing is measured here."""

import statistics

from performance.contestants import COMPILED, DDP, NOTEBOOK, OURS, TITLES
from performance.document import provenance_lines, table

ORDER = (OURS, DDP, COMPILED, NOTEBOOK)


def quartiles(values):
    if len(values) == 1:
        return (values[0],) * 3
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def spread(values, form="{:.2f}"):
    low, middle, high = (form.format(value) for value in quartiles(values))
    return f"{middle} ({low}-{high})" if len(values) > 1 else middle


def median(values, form, factor=1):
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return form.format(factor * statistics.median(known)) if known else "-"


def median_of(runs, key, form, factor=1):
    return median([run.get(key) for run in runs], form, factor)


def ratios(cell, peer):
    """How many times faster ours is, round by round."""
    ours = {run["round"]: run["step_seconds"] for run in cell["runs"].get(OURS, [])}
    return [run["step_seconds"] / ours[run["round"]] for run in cell["runs"].get(peer, []) if run["round"] in ours]


def row(cell, name, flops):
    case, runs = cell["case"], cell["runs"][name]
    seconds = [run["step_seconds"] for run in runs]
    middle = statistics.median(seconds)
    against = ratios(cell, name) if name != OURS else []
    peak = cell["peak_flops_per_rank"]
    utilisation = flops / middle / (peak * case["ranks"]) if peak and flops else None
    return (f"{case['config']}, {case['ranks']} x {case['threads']}, batch {case['batch']}", TITLES[name],
            spread([1 / value for value in seconds], "{:.3g}"), number(case["batch"] / middle),
            spread(against) if against else "-", median_of(runs, "data_wait", "{:.1f} %", 100),
            median_of(runs, "exposed_communication", "{:.1f} %", 100),
            f"{100 * utilisation:.0f} %" if utilisation else "-", median_of(runs, "memory_bytes", "{:.0f}", 1 / 2**20),
            median_of(runs, "first_step_seconds", "{:.1f}"))


HEADER = ("configuration, ranks x threads", "who", "steps/s", "utterances/s", "ours is faster by", "data wait",
          "exposed communication", "MFU", "MiB a rank", "s to first step")


def efficiency_rows(cells, precision):
    """Of 2 ranks with one thread each against one, the global batch being the same."""
    rows = []
    for (config, ranks, batch), cell in cells.items():
        one = cells.get((config, 1, batch))
        if ranks == 1 or one is None:
            continue
        parts = [f"{config}, {ranks} ranks"]
        for name in (OURS, DDP):
            alone, together = ([run["step_seconds"] for run in each["runs"].get(name, [])] for each in (one, cell))
            pairs = [a / b / ranks for a, b in zip(alone, together)]
            parts.append(spread([100 * pair for pair in pairs], "{:.0f}") if pairs else "-")
        rows.append(parts)
    return rows


def sections(results):
    cells = list(results.values())
    # Ours tells them, and may not take part in each case.
    flops = {(c["case"]["config"], c["case"]["batch"]): c["flops_per_step"] for c in cells if c["flops_per_step"]}
    lines = []
    for device in ("cpu", "cuda"):
        for precision in ("fp32", "bf16"):
            chosen = [c for c in cells if c["case"]["device"] == device and c["case"]["precision"] == precision]
            if not chosen:
                if device == "cuda" and precision == "fp32":
                    lines += ["### On GPUs", "", "Not yet measured.", ""]
                continue
            rows = [row(cell, name, flops.get((cell["case"]["config"], cell["case"]["batch"]))) for cell in chosen for name in ORDER if cell["runs"].get(name)]
            peaks = sorted({round(c["peak_flops_per_rank"] / 1e9) for c in chosen if c["peak_flops_per_rank"]})
            rate = " to ".join(str(peak) for peak in dict.fromkeys((peaks[0], peaks[-1]))) if peaks else "-"
            allocators = ", ".join(sorted({c["allocator"] for c in chosen}))
            rounds = sorted({len(runs) for c in chosen for runs in c["runs"].values()})
            lines += [f"### {'CPU' if device == 'cpu' else 'GPU'}, {precision}", "",
                      *provenance_lines([c["provenance"] for c in chosen], [c["command"] for c in chosen]), "",
                      f"Rounds: {', '.join(map(str, rounds))}. Matrix-multiply peak of one rank: {rate} GFLOP/s. "
                      f"DDP's allocator: {allocators}.", "",
                      *table(HEADER, rows), ""]
            single = {(c["case"]["config"], c["case"]["ranks"], c["case"]["batch"]): c for c in chosen
                      if c["case"]["threads"] == 1 or device == "cuda"}
            efficiency = efficiency_rows(single, precision)
            if efficiency:
                lines += ["Parallel efficiency, per cent, the global batch being the same:", "",
                          *table(("", TITLES[OURS], TITLES[DDP]), efficiency), ""]
    return lines
