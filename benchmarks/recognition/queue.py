"""Runs jobs, a few at a time, and says how long the rest will take."""

import signal
import threading
import time

from recognition.experiment import read_json
from recognition.runs import RunError, Stopped

REPORT_SECONDS = 60


def duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


class Queue:
    def __init__(self, jobs, parallel, total_steps):
        self.waiting = [job for job in jobs if not job.is_done()]
        self.skipped = len(jobs) - len(self.waiting)
        self.running = {}  # job: when it was started
        self.parallel, self.total_steps = parallel, total_steps
        self.failures = []
        self.finished = 0
        self.took = {}  # model: seconds of its runs
        for job in jobs:
            seconds = read_json(job.results_file, {}).get("seconds")
            if seconds:
                self.took.setdefault(job.model, []).append(seconds)
        self.stopping = False
        self.lock = threading.Lock()

    def work(self):
        while True:
            with self.lock:
                if self.stopping or not self.waiting:
                    return
                job = self.waiting.pop(0)
                self.running[job] = time.monotonic()
            try:
                start = time.monotonic()
                job.run()
                with self.lock:
                    self.finished += 1
                    self.took.setdefault(job.model, []).append(time.monotonic() - start)
                print(f"{job.name}: done in {duration(time.monotonic() - start)}", flush=True)
            except Stopped:
                with self.lock:
                    if not self.stopping:
                        self.failures.append(f"{job.name}: was told to stop by someone else; start this again to go on")
                        print(f"error: {self.failures[-1]}", flush=True)
            except RunError as error:
                with self.lock:
                    self.failures.append(str(error))
                print(f"error: {error}", flush=True)
            except Exception as error:  # a bug in one job must not leave the others unwatched
                with self.lock:
                    self.failures.append(f"{job.name}: {error!r}")
                print(f"error: {job.name}: {error!r}", flush=True)
            finally:
                with self.lock:
                    self.running.pop(job, None)

    def seconds_a_run(self):
        """Model to the mean of what its runs took, earlier too; from the running ones where none is done."""
        known = {model: sum(times) / len(times) for model, times in self.took.items()}
        for job, start in self.running.items():
            done = job.steps_done()
            if job.model not in known and done > 0.02 * self.total_steps:
                known[job.model] = (time.monotonic() - start) * self.total_steps / done
        return known

    def left(self):
        known = self.seconds_a_run()
        if not known:
            return None
        typical = sum(known.values()) / len(known)
        total = sum(known.get(job.model, typical) for job in self.waiting)
        for job in self.running:
            total += known.get(job.model, typical) * max(0.0, 1 - job.steps_done() / self.total_steps)
        return total / self.parallel

    def report(self):
        with self.lock:
            now = ", ".join(f"{job.name} {job.steps_done()}/{self.total_steps}" for job in self.running)
            left = self.left()
            print(f"{time.strftime('%H:%M:%S')} {self.finished} done, {len(self.failures)} failed, {len(self.waiting)} "
                  f"waiting; running {now or 'nothing'}; left {'unknown' if left is None else duration(left)}",
                  flush=True)

    def stop(self):
        self.stopping = True
        with self.lock:
            running = list(self.running)
        for job in running:
            job.stop()

    def run(self):
        """True where all is done. SIGINT and SIGTERM let the trainings save; the same command goes on."""
        print(f"{len(self.waiting)} runs to do, {self.skipped} done before", flush=True)
        received = []
        handlers = {name: signal.signal(name, lambda number, _: received.append(number))
                    for name in (signal.SIGINT, signal.SIGTERM)}
        threads = [threading.Thread(target=self.work) for _ in range(self.parallel)]
        for thread in threads:
            thread.start()
        reported = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            if received:
                if not self.stopping:
                    print("stopping: the trainings save first", flush=True)
                # Again and again: a job may have been between two programs.
                self.stop()
            if time.monotonic() - reported >= REPORT_SECONDS:
                self.report()
                reported = time.monotonic()
        for name, handler in handlers.items():
            signal.signal(name, handler)
        return not self.stopping and not self.failures
