"""A SLURM of one node, this machine, for tests: its daemons are started in a folder of their own and stopped again.

It needs Debian's packages slurm-wlm and munge, and touches nothing outside the folder.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
# Daemons stand where an ordinary user's PATH does not lead.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_SECONDS_TO_START = 60

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
KillWait=30
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES State=UP OverSubscribe=NO
"""


class NoSlurmError(Exception):
    """SLURM does not run here; the message says why."""


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run a SLURM as long as the context lasts.

    Yields:
        the environment in which its commands find it.

    Raises:
        NoSlurmError: when a program is missing, or a daemon ends or does not answer.
    """
    missing = [name for name in NEEDED if shutil.which(name, path=_PATH) is None]
    if missing:
        raise NoSlurmError(f"no {', '.join(missing)} here: Debian's packages slurm-wlm and munge bring them")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller_port=_free_port(),
            node_port=_free_port(),
        )
    )
    environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": _PATH}
    munge = [f"--{name}={folder}/munge.{ending}" for name, ending in _MUNGE_FILES]
    commands = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D", "-c", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as output:
                daemons.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
                )
            if command[0] == "munged":
                _wait_for_file(folder / "munge.socket", daemons[-1], folder)
        _wait_until_idle(environment, daemons, folder)
        yield environment
    finally:
        if len(daemons) == len(commands):
            subprocess.run(["scancel", "--full", "--signal=KILL", "--me"], env=environment, check=False, timeout=30)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


_MUNGE_FILES = (
    ("key-file", "key"),
    ("socket", "socket"),
    ("pid-file", "pid"),
    ("log-file", "log"),
    ("seed-file", "seed"),
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_file(path: Path, daemon: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(10 * _SECONDS_TO_START):
        if path.exists():
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    raise NoSlurmError(f"munged does not run: {_last_words(folder)}")


def _wait_until_idle(environment: dict[str, str], daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    for _ in range(5 * _SECONDS_TO_START):
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=environment, capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == "idle":
            return
        if any(daemon.poll() is not None for daemon in daemons):
            break
        time.sleep(0.2)
    raise NoSlurmError(f"SLURM does not run: {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    logs = [*folder.glob("*.out"), *folder.glob("*.log")]
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if "error" in line.lower()]
    return "; ".join(lines[-3:]) or "no reason given"
