"""On what, from what and when a result was made."""

import datetime
import functools
import os
import pathlib
import subprocess

from recognition.experiment import PROJECT


@functools.cache
def commit():
    result = subprocess.run(["git", "-C", PROJECT, "describe", "--always", "--dirty", "--exclude", "*"],
                            capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


@functools.cache
def hardware():
    names = [line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {os.cpu_count()} cores"


def now():
    return {"commit": commit(), "hardware": hardware(), "date": datetime.date.today().isoformat()}
