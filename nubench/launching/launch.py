"""Submit work: to SLURM, or to this machine, a few pieces at a time."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from nubench.cores import available_cores
from nubench.errors import NubenchError, UsageError
from nubench.launching.commands import DataCommand, RunCommand, data_for
from nubench.launching.job import CommandJob
from nubench.launching.records import LAUNCHED, Launched, Submission, now
from nubench.launching.scheduler import SlurmOptions, my_jobs
from nubench.launching.status import is_alive
from nubench.progress import Progress

if TYPE_CHECKING:
    from submitit import Job

_Any = TypeVar("_Any", RunCommand, DataCommand)

_LOGS: Final = "logs"
#: SLURM's usual limit is 1,001.
_MOST_IN_AN_ARRAY: Final = 1000
#: How often a job may reach the end of its time and be queued again: as long as it takes.
_MOST_STARTS: Final = 10_000
_POLL_SECONDS: Final = 0.5
_MINUTES_OF_LOCAL_JOBS: Final = 60 * 24 * 60


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

        What waits or runs already is left alone.

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
        for data, group in data_for(self._not_under_way(cells)).items():
            further: dict[str, str] = {}
            if of_data is not None:
                builder = self._slurm_data_job(data, of_data)
                further = {"dependency": f"afterok:{builder}", "kill-on-invalid-dep": "yes"}
            for first in range(0, len(group), _MOST_IN_AN_ARRAY):
                part = [self._prepare(cell, "slurm") for cell in group[first : first + _MOST_IN_AN_ARRAY]]
                submitted += self._submit_to_slurm(part, options, f"nubench-{group[0].shift}", further)
        return submitted

    def here(
        self, cells: Sequence[RunCommand], parallel: int, gpus: Sequence[int] = (), *, build_data: bool = True
    ) -> list[Launched]:
        """Run cells on this machine, and wait for them: their data first, then cells beside each other.

        Cells that run beside each other divide the cores: each computes with its share of threads, unless
        ``OMP_NUM_THREADS`` says how many.

        Args:
            cells: what to run.
            parallel: cells that run at once, at most.
            gpus: numbers of the graphics processors that cells take turns on, as many as each shares its training out
                to; none are visible to them when empty.
            build_data: whether their data may be missing.

        Raises:
            NubenchError: when data could not be built. A cell that fails stops no other.
        """
        cells = self._not_under_way(cells)
        for data in data_for(cells) if build_data else ():
            self._run_here([self._prepare(data, "local")], 1, ())
            built = Launched.called(self.cache, data.name).job()
            if built is None or built.state != "finished":
                raise NubenchError(f"{data.name} ended without its data: {built.note if built else 'it did not start'}")
        prepared = [self._prepare(cell, "local") for cell in cells]
        self._run_here(prepared, parallel, gpus, max((cell.devices for cell in cells), default=1))
        return prepared

    def _slurm_data_job(self, data: DataCommand, options: SlurmOptions) -> str:
        running = Launched.called(self.cache, data.name).submission()
        if running is not None and running.job is not None and not self._not_under_way([data]):
            return running.job
        (launched,) = self._submit_to_slurm([self._prepare(data, "slurm")], options, "nubench-data", {})
        submission = launched.submission()
        assert submission is not None
        assert submission.job is not None
        return submission.job

    def _submit_to_slurm(
        self,
        prepared: Sequence[Launched],
        options: SlurmOptions,
        job_name: str,
        further: Mapping[str, str],
    ) -> list[Launched]:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        parameters = options.parameters()
        parameters["additional_parameters"] = {"job-name": job_name, **parameters["additional_parameters"], **further}
        executor = SlurmExecutor(self._logs, max_num_timeout=_MOST_STARTS)
        executor.update_parameters(**parameters)
        try:
            jobs = executor.submit_array([CommandJob(each.folder, self.directory) for each in prepared])
        except (FailedJobError, FailedSubmissionError) as error:
            for each in prepared:
                each.forget()
            raise UsageError(f"SLURM did not accept the jobs: {' '.join(str(error).split())[:500]}") from error
        for each, job in zip(prepared, jobs, strict=True):
            self._enter(each, job)
        self.progress.say(f"SLURM: {len(jobs)} jobs {job_name}, {jobs[0].job_id} and on")
        return list(prepared)

    def _run_here(self, prepared: Sequence[Launched], parallel: int, gpus: Sequence[int], each: int = 1) -> None:
        from submitit import LocalExecutor

        waiting = deque(prepared)
        slots: dict[int, Job[None]] = {}
        threads = max(1, available_cores() // parallel) if parallel > 1 else None
        try:
            while waiting or slots:
                for slot in [slot for slot, job in slots.items() if job.done()]:
                    del slots[slot]
                while waiting and len(slots) < parallel:
                    slot = min(set(range(parallel)) - slots.keys())
                    executor = LocalExecutor(self._logs, max_num_timeout=_MOST_STARTS)
                    turn = range(slot * each, slot * each + min(each, len(gpus)))
                    visible = tuple(gpus[place % len(gpus)] for place in turn)
                    executor.update_parameters(
                        timeout_min=_MINUTES_OF_LOCAL_JOBS,
                        stderr_to_stdout=True,
                        gpus_per_node=len(visible),
                        visible_gpus=visible,
                    )
                    launched = waiting.popleft()
                    slots[slot] = executor.submit(CommandJob(launched.folder, self.directory, threads))
                    self._enter(launched, slots[slot])
                    self.progress.say(f"{launched.folder.name}: {slots[slot].paths.stdout}")
                time.sleep(_POLL_SECONDS)
        finally:
            for job in slots.values():
                job.cancel(check=False)

    def _not_under_way(self, commands: Sequence[_Any]) -> list[_Any]:
        """Those of which neither waits nor runs a job."""
        jobs, left = my_jobs(), []
        for command in commands:
            launched = Launched.called(self.cache, command.name)
            submission = launched.submission()
            if submission is not None and is_alive(submission, launched.job(), jobs):
                self.progress.say(f"{command.name}: waits or runs already")
            else:
                left.append(command)
        return left

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
            )
        )
        return launched

    def _enter(self, launched: Launched, job: Job[None]) -> None:
        submission = launched.submission()
        assert submission is not None
        known = {"job": job.job_id, "log": os.fspath(job.paths.stdout)}
        launched.write_submission(submission.model_copy(update=known))

    @property
    def _logs(self) -> str:
        # submitit puts the name of the job in the place of %j.
        return os.fspath(self.cache / LAUNCHED / _LOGS / "%j")
