"""Stands for nubench in tests of jobs: does what the method's name says, in the folder of the leaderboards.

ACTS_AS in the environment says it instead, where the method must be one that nubench knows.

steps: counts to thirty, a tenth of a second each; asked to stop, it keeps the count and ends as an interrupted run
does.
fails: ends with an error. quick: ends well, and says how many threads it was given. killed: is, as by a system that is
short of memory. stubborn: heeds no signal, nor does the process that it starts.
"""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from nubench.interrupts import deferred, listen

words = sys.argv[1:]
options = {name: value for name, value in pairwise(words) if name.startswith("--")}
if "--only-data" in words:
    Path(options["--cache"], "data-was-built").touch()
    sys.exit(1 if options.get("--dataset") == "broken" else 0)
folder = Path(options["--leaderboards"])
method = os.environ.get("ACTS_AS", options["--method"])
mine = folder / f"{method}-{options['--seed']}"
folder.mkdir(parents=True, exist_ok=True)
if method == "fails":
    sys.stdout.write("the loss is nan at step 7\n")
    sys.exit(1)
if method in ("killed", "stubborn"):
    sys.stdout.write("training: 3/30\n")
    sys.stdout.flush()
if method == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if method == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.run([sys.executable, "-c", "import sys, time; time.sleep(60)", str(folder)], check=True)
if method == "steps":
    listen()
    try:
        with deferred() as stop_asked:
            for step in range(int(mine.read_text()) if mine.exists() else 0, 30):
                sys.stdout.write(f"training: {step}/30\n")
                sys.stdout.flush()
                time.sleep(0.1)
                if stop_asked():
                    mine.write_text(str(step + 1))
                    break
    except KeyboardInterrupt:
        sys.exit(130)
with mine.with_suffix(".log").open("a") as log:
    log.write(f"finished at {words[-1]}\n")
sys.stdout.write(f"threads: {os.environ.get('OMP_NUM_THREADS', 'all')}\n")
