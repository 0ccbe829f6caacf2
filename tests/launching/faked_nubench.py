"""nubench itself, but its jobs run the command of the first word: ``python faked_nubench.py COMMAND run ...``."""

import sys
from functools import partial

from nubench.cli import main
from nubench.launching import launch

launch.Launcher = partial(launch.Launcher, program=(sys.executable, sys.argv[1]))  # type: ignore[assignment, misc]
main(sys.argv[2:])
