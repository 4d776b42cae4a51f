"""A SLURM cluster of its own on this machine: munged, slurmctld and one slurmd a node, on the loopback address.

Everything it has (keys, sockets, spools, logs) lies in one temporary folder and its ports are free ones, so it neither
needs nor disturbs an installed SLURM. The daemons are children of this process and are ended by their process ids.
"""

import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from free_ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "mpirun")
START_SECONDS = 120

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
MailProg=/bin/true
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its credential has expired, 120 s where nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# More CPUs than the machine has, so that jobs need not wait for each other.
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
# Tests look at jobs that ended long ago; 300 s where nothing is said.
MinJobAge=7200
ReturnToService=2
# Open MPI names its shared memory after the job: clusters side by side must not count alike.
FirstJobId={first_job}
MpiDefault=none
{nodes}
PartitionName=cheap Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=hasty Nodes=ALL PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=ALL PriorityTier=2
"""


def why_not():
    """Why no cluster can be started here; None where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found; install slurmctld, slurmd, slurm-client, munge and openmpi-bin"
    if os.getuid() != 0:
        return "slurmd starts jobs only as root"
    return None


def wait_until(condition, what, limit_seconds=60, interval_seconds=0.1):
    """Calls condition() until it gives something true, and returns that."""
    deadline = time.monotonic() + limit_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_seconds} s for {what}")
        time.sleep(interval_seconds)
    return value


class Cluster:
    """Started by the constructor; stop() ends its jobs and daemons. `nodes`: {name: CPUs}."""

    def __init__(self, folder, nodes):
        self.folder = pathlib.Path(folder)
        self._daemons = {}
        for name in ("state", *(f"spool-{node}" for node in nodes)):
            (self.folder / name).mkdir()
        ports = free_ports(1 + len(nodes))
        lines = [f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"
                 for (name, cpus), port in zip(nodes.items(), ports[1:])]
        configuration = self.folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(host=socket.gethostname(), controller_port=ports[0],
                                                      first_job=random.randrange(1, 50_000_000, 1000),
                                                      folder=self.folder, nodes="\n".join(lines)))
        for node in nodes:
            # A folder each: the PMIx servers of two nodes would meet in one folder for temporary files.
            own = self.folder / node
            (own / "tmp").mkdir(parents=True)
            shutil.copy(configuration, own)
            (own / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
            (own / "mpi.conf").write_text(f"PMIxCliTmpDirBase={own}/tmp\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SCANCEL_", "SQUEUE_"))}
        self.environment["SLURM_CONF"] = str(configuration)
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
                        f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed",
                        f"--log-file={folder}/munged.log")
            wait_until((self.folder / "munge.socket").exists, "munged", START_SECONDS)
            self._start("slurmctld", "-D", "-f", configuration)
            for node in nodes:
                self.start_node(node)
            wait_until(lambda: self._all_idle(len(nodes)), "the nodes to be idle", START_SECONDS)
        except BaseException:
            print(self.logs())
            self.stop()
            raise

    def _start(self, program, *arguments, label=None):
        label = label or program
        with open(self.folder / f"{label}.out", "ab") as log:
            self._daemons[label] = subprocess.Popen([shutil.which(program), *map(str, arguments)], stdout=log, stderr=log,
                                                    stdin=subprocess.DEVNULL, env=self.environment)

    def start_node(self, node):
        self._start("slurmd", "-D", "-N", node, "-f", self.folder / node / "slurm.conf", label=f"slurmd-{node}")

    def lose_node(self, node):
        """kill -9 of all that runs on it; then SLURM is told so, which it would find out itself after a while."""
        daemon = self._daemons[f"slurmd-{node}"]
        daemon.kill()
        daemon.wait()
        self._kill_living(f"{node}/")
        # PMIx would not start a step of the same number over what it left behind: the machine comes back empty.
        for folder in (self.folder / node / "tmp", self.folder / f"spool-{node}"):
            shutil.rmtree(folder)
            folder.mkdir()
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def restore_node(self, node):
        """ReturnToService=2: it is up by itself once slurmd has registered, and resuming it then is an error."""
        self.start_node(node)
        wait_until(lambda: not self._node_states().get(node, "down").startswith("down"), f"{node} to be up again",
                   START_SECONDS)

    def _node_states(self):
        """{"n1": "idle", ...}; {} where the controller does not answer."""
        words = self.command("sinfo", "-h", "-N", "-p", "cheap", "-o", "%N %T", check=False).stdout.split()
        return dict(zip(words[::2], words[1::2]))

    def _all_idle(self, count):
        for label, daemon in self._daemons.items():
            if daemon.poll() is not None:
                raise AssertionError(f"{label} ended with {daemon.returncode}")
        return list(self._node_states().values()) == ["idle"] * count

    def command(self, *arguments, check=True, **keywords):
        """Runs one of SLURM's commands on this cluster."""
        result = subprocess.run(list(map(str, arguments)), env=self.environment, capture_output=True, text=True,
                                timeout=60, **keywords)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, arguments))}: {result.stderr}{result.stdout}")
        return result

    def show(self, job):
        """What scontrol knows about a job ({} where it does not know it): {"JobState": "RUNNING", ...}."""
        for _ in range(5):
            answer = self.command("scontrol", "-o", "show", "job", job, check=False)
            if answer.returncode == 0:
                return dict(re.findall(r"(\S+?)=(\S*)", answer.stdout))
            if "Invalid job id" in answer.stderr:
                return {}
            time.sleep(1)  # a busy controller does not answer in time
        raise AssertionError(f"scontrol show job {job}: {answer.stderr}{answer.stdout}")

    def ranks(self, job, program):
        """{rank: process id} of the living ranks of a job, which may be a task of an array ("12_3")."""
        return {int(environment["PMIX_RANK"]): process
                for process, environment in self.processes(job, program).items() if "PMIX_RANK" in environment}

    def processes(self, job, program):
        """{process id: its environment} of the living processes of a job that run this program."""
        number = self.show(job).get("JobId")
        found = {}
        for process, environment in self._living():
            with contextlib.suppress(OSError):
                if (environment.get("SLURM_JOB_ID") == number and
                        os.path.basename(os.readlink(f"/proc/{process}/exe")) == program):
                    found[process] = environment
        return found

    def _living(self, below=""):
        """(process id, environment) of whatever this cluster, or one node ("n1/"), has started."""
        mark = f"SLURM_CONF={self.folder}/{below}".encode()  # on a node it names the node's copy of slurm.conf
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    if any(item.startswith(mark) for item in variables):
                        yield int(entry.name), dict(item.decode(errors="replace").split("=", 1)
                                                    for item in variables if b"=" in item)

    def logs(self):
        """The ends of the daemons' logs, for a test that failed."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                         for path in sorted([*self.folder.glob("slurmctld.out"), *self.folder.glob("slurmd-*.log")]))

    def stop(self):
        """Ends the jobs, then the daemons, then whatever of theirs is left."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.command("scancel", "--full", "--signal=KILL", "--user=root", check=False)
            self.command("scancel", "--user=root", check=False)
            wait_until(lambda: not self.command("squeue", "-h").stdout.strip(), "the jobs to end", limit_seconds=10)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._kill_living()

    def _kill_living(self, below=""):
        for process, _ in self._living(below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
