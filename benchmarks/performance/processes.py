"""Starts contestants on chosen cores and watches them: when the first step was done, how much memory they held."""

import os
import pathlib
import signal
import subprocess
import threading
import time

LIMIT_SECONDS = 900


class ContestantError(Exception):
    pass


def preload_libraries():
    """Those of the allocators that PyTorch's tuning guide recommends that Debian (libjemalloc2, libtcmalloc-minimal4)
    has put here."""
    folder = pathlib.Path("/usr/lib/x86_64-linux-gnu")
    names = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
    return {name: str(folder / file) for name, file in names.items() if (folder / file).is_file()}


def on_cores(cores, command):
    """`cores` empty: wherever the kernel likes."""
    words = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
    return [str(word) for word in [*words, *command]]


def descendants(root):
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(entry.name))
    found, new = [], [root]
    while new:
        new = [child for process in new for child in children.get(process, [])]
        found += new
    return found


def peak_of(process, name):
    """VmHWM of a process of that name, in bytes; None where it is another one or has ended."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if fields["Name"].strip() != name or "VmHWM" not in fields:
        return None
    return int(fields["VmHWM"].split()[0]) * 1024


class Watched:
    """Runs a command to its end. `memory_of`: name of the programs whose peak is noted over time."""

    def __init__(self, command, environment, marker, memory_of=None, limit_seconds=LIMIT_SECONDS):
        self.first_step_seconds = None
        self.peaks = []  # (unix seconds, largest peak of a process)
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   env={**os.environ, **environment}, start_new_session=True)
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(process, memory_of, done, start + limit_seconds))
        watcher.start()
        lines = []
        try:
            for line in process.stdout:
                if self.first_step_seconds is None and marker in line:
                    self.first_step_seconds = time.monotonic() - start
                lines.append(line)
            process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            done.set()
            watcher.join()
        self.output = "".join(lines)
        if process.returncode != 0:
            raise ContestantError(f"{' '.join(command)} ended with {process.returncode}:\n{self.output[-3000:]}")

    def _watch(self, process, memory_of, done, deadline):
        watched = []
        # Seldom: it takes time from the cores on which others are measured. But a short run must not be missed.
        while not done.wait(0.5 if memory_of is None or self.first_step_seconds else 0.1):
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                return
            if memory_of is None:
                continue
            if not watched or self.first_step_seconds is None:
                watched = descendants(process.pid)
            peaks = {child: peak_of(child, memory_of) for child in watched}
            watched = [child for child, peak in peaks.items() if peak is not None]
            if watched:
                self.peaks.append((time.time(), max(peaks[child] for child in watched)))

    def peak_before(self, unix_seconds):
        return max((peak for at, peak in self.peaks if at <= unix_seconds), default=None)
