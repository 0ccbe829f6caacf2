"""Submit work: to SLURM, or to this machine, a few pieces at a time."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nubench.errors import NubenchError, UsageError
from nubench.interrupts import Interrupted, deferred, stop_asked
from nubench.launching.commands import DataCommand, RunCommand, data_for
from nubench.launching.job import CommandJob
from nubench.launching.local import Slots, run_here
from nubench.launching.processes import Process
from nubench.launching.records import LAUNCHED, Launched, Submission, now
from nubench.launching.scheduler import SlurmOptions, my_jobs
from nubench.launching.status import Status, status_of
from nubench.progress import Progress
from nubench.storage.files import make_folder
from nubench.storage.locking import locked

_LOGS: Final = "logs"
#: Held from the look at what is under way until what is submitted is written down.
_LOCK: Final = "lock"
#: SLURM's usual limit is 1,001.
_MOST_IN_AN_ARRAY: Final = 1000
#: How often a job may reach the end of its time and be queued again: as long as it takes.
_MOST_STARTS: Final = 10_000
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Launcher:
    """Where work is submitted from.

    Attributes:
        cache, leaderboards: handed to every command.
        directory: where every command is run; on a cluster all three are on a disk that all machines share.
        progress: says what happens.
        program: the words before every command.
    """

    cache: Path
    leaderboards: Path
    directory: Path
    progress: Progress
    program: Sequence[str] = (sys.executable, "-m", "nubench")

    def on_slurm(
        self, cells: Sequence[RunCommand], options: SlurmOptions, of_data: SlurmOptions | None
    ) -> list[Launched]:
        """Submit one job for the data of each set, and arrays of one job a cell that wait for them.

        What waits or runs already is left alone. An interrupt stops it between two arrays; those that SLURM has
        accepted stay in its queue.

        Args:
            cells: what to run.
            options: of the jobs of cells.
            of_data: of the jobs that build data; None when all is built.

        Returns:
            What was submitted.

        Raises:
            UsageError: when there is no SLURM here, or it does not accept an option.
        """
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UsageError("--launcher slurm needs sbatch and srun, which are not on this machine's PATH")
        submitted: list[Launched] = []
        with self._alone():
            for data, group in data_for(self._not_under_way(cells)).items():
                further: dict[str, str] = {}
                if of_data is not None:
                    builder = self._slurm_data_job(data, of_data)
                    further = {"dependency": f"afterok:{builder}", "kill-on-invalid-dep": "yes"}
                for first in range(0, len(group), _MOST_IN_AN_ARRAY):
                    part = group[first : first + _MOST_IN_AN_ARRAY]
                    submitted += self._submit_to_slurm(part, options, f"nubench-{group[0].shift}", further)
        return submitted

    def here(
        self, cells: Sequence[RunCommand], parallel: int, gpus: Sequence[str] = (), *, build_data: bool = True
    ) -> list[Status]:
        """Run cells on this machine, and wait for them: their data first, then cells beside each other.

        What waits or runs already is left alone. Cells that run beside each other divide the cores: each computes
        with its share of threads, unless ``OMP_NUM_THREADS`` says how many. An interrupt ends those that run, which
        keep their work, and forgets those that wait.

        Args:
            cells: what to run.
            parallel: cells that run at once, at most.
            gpus: names of the graphics processors that cells take turns on, as many as each shares its training out
                to; none are visible to them when empty.
            build_data: whether their data may be missing.

        Returns:
            What became of each that was run.

        Raises:
            NubenchError: when data could not be built. A cell that fails stops no other.
        """
        prepared: list[Launched] = []
        with _forgotten_unless_started(prepared):
            with self._alone():
                cells = self._not_under_way(cells)
                prepared.extend(self._prepare(cell, "local") for cell in cells)
            for data in data_for(cells) if build_data else ():
                self._build_here(data)
            slots = Slots(parallel, gpus, max((cell.devices for cell in cells), default=1))
            run_here(prepared, self.directory, self._logs, slots, self.progress)
        ended = (status_of(launched, None, now()) for launched in prepared)
        return [one for one in ended if one is not None]

    def _build_here(self, data: DataCommand) -> None:
        launched, told = Launched.called(self.cache, data.name), False
        prepared: list[Launched] = []
        with _forgotten_unless_started(prepared):
            while not prepared:
                with self._alone():
                    under_way = self._is_under_way(data, my_jobs())
                    prepared += [] if under_way else [self._prepare(data, "local")]
                if under_way:
                    if not told:
                        self.progress.say(f"{data.name}: waiting for the job that builds them already")
                        told = True
                    time.sleep(_POLL_SECONDS)
            run_here(prepared, self.directory, self._logs, Slots(1), self.progress)
        built, submission = launched.job(), launched.submission()
        if built is None or built.state != "finished":
            log = submission.log if submission else None
            raise NubenchError(
                f"{data.name} ended without its data: {built.note if built else 'it did not start'}; its output: {log}"
            )

    def _slurm_data_job(self, data: DataCommand, options: SlurmOptions) -> str:
        launched = Launched.called(self.cache, data.name)
        running = launched.submission()
        if running is None or running.job is None or not self._is_under_way(data, my_jobs()):
            self._submit_to_slurm([data], options, "nubench-data", {})
            running = launched.submission()
        assert running is not None
        assert running.job is not None
        return running.job

    def _submit_to_slurm(
        self,
        commands: Sequence[RunCommand] | Sequence[DataCommand],
        options: SlurmOptions,
        job_name: str,
        further: Mapping[str, str],
    ) -> list[Launched]:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        parameters = options.parameters()
        parameters["additional_parameters"] = {"job-name": job_name, **parameters["additional_parameters"], **further}
        executor = SlurmExecutor(self._logs / "%j", max_num_timeout=_MOST_STARTS)
        executor.update_parameters(**parameters)
        prepared: list[Launched] = []
        # What SLURM has accepted is written down before an interrupt is heeded.
        with _forgotten_unless_started(prepared), deferred():
            prepared.extend(self._prepare(command, "slurm") for command in commands)
            try:
                jobs = executor.submit_array([CommandJob(each.folder, self.directory) for each in prepared])
            except (FailedJobError, FailedSubmissionError) as error:
                if stop_asked():
                    # The terminal's Ctrl-C has reached sbatch as well.
                    raise Interrupted from error
                raise UsageError(f"SLURM did not accept the jobs: {' '.join(str(error).split())[:500]}") from error
            for each, job in zip(prepared, jobs, strict=True):
                each.enter(job.job_id, os.fspath(job.paths.stdout))
        self.progress.say(f"SLURM: {len(jobs)} jobs {job_name}, {jobs[0].job_id} and on")
        return prepared

    def _not_under_way(self, cells: Sequence[RunCommand]) -> list[RunCommand]:
        """Those of which neither waits nor runs a job."""
        jobs, left = my_jobs(), []
        for cell in cells:
            if self._is_under_way(cell, jobs):
                self.progress.say(f"{cell.name}: waits or runs already")
            else:
                left.append(cell)
        return left

    def _is_under_way(self, command: RunCommand | DataCommand, jobs: Mapping[str, str] | None) -> bool:
        found = status_of(Launched.called(self.cache, command.name), jobs, now())
        return found is not None and found.alive

    def _prepare(self, command: RunCommand | DataCommand, launcher: str) -> Launched:
        launched = Launched.called(self.cache, command.name)
        launched.forget()
        launched.write_submission(
            Submission(
                name=command.name,
                cell=command if isinstance(command, RunCommand) else None,
                command=(*self.program, *command.arguments(self.cache, self.leaderboards)),
                launcher=launcher,
                submitted=now(),
                submitter=Process.this(),
            )
        )
        return launched

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process submits from this cache meanwhile."""
        make_folder(self.cache / LAUNCHED)
        waiting = "waiting for another nubench, which submits from this cache"
        with locked(self.cache / LAUNCHED / _LOCK, self.progress.say, waiting):
            yield

    @property
    def _logs(self) -> Path:
        return self.cache / LAUNCHED / _LOGS


@contextmanager
def _forgotten_unless_started(prepared: Sequence[Launched]) -> Iterator[None]:
    """Where the context ends with an error, nothing is left of submissions that nobody will start."""
    try:
        yield
    except BaseException:
        for launched in prepared:
            submission = launched.submission()
            in_queue = submission is not None and submission.launcher == "slurm" and submission.job is not None
            if launched.job() is None and not in_queue:
                launched.forget()
        raise
