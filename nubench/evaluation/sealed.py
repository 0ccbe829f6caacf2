"""The evaluation's side of a sealed training: start the child, hand over events, take arrays back.

The child is a new process, not a fork: it inherits nothing of the evaluation's memory. Its files stand in a folder of
this training: the source events when it starts, the test events of a point not before the training has ended, and
never a label of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from pydantic import ValidationError

from nubench.cache import CACHE_VARIABLE
from nubench.containers import Events
from nubench.errors import NubenchError, PluginError
from nubench.evaluation.handout import Handout, Outputs, SourceSplit, save_deposits, save_events
from nubench.evaluation.messages import ERRORS, Order, ProgressRelay, Sender
from nubench.evaluation.sealed_child import INTERRUPTED
from nubench.evaluation.sealed_folders import code_folders, make_kernel_caches
from nubench.evaluation.trainee import DepositSource, Report
from nubench.problems import problems_of
from nubench.progress import Progress
from nubench.storage.files import make_folder

#: A child that is interrupted may keep what it has, after the step that it is in.
_SECONDS_TO_END: Final = 90.0
_SECONDS_BETWEEN_LOOKS: Final = 0.1
#: A longer message than this is none of ours.
_LONGEST_LINE: Final = 10_000_000


UNCONFINED: Final = (
    "This system cannot keep a training from files (that takes Landlock, in Linux 5.13 and later). Labels are still "
    "not handed to it and not in its memory, but a method that searches the cache could open them."
)


class SealedTraining:
    """A training in a child process; used as a context, at whose end the child is gone.

    Args:
        order: what it is told; its folder ``handout`` is made, and emptied at the end. The child reads what is handed
            over in it, and changes nothing but two folders in it, for what it returns and for temporary files: a
            folder that it could move and put a link in its place would lead us to the files of others.
        handout: the events that it is given; None for a child that helps another one with a training: it finds in the
            folder what that one was given, deposits included, and what it prints goes to :attr:`log`.
        forbidden: folders that the child must not read, as far as the system can see to it; nor may it change what is
            in the folder around them, but for its own.
        progress: shows what the child reports.
        deposits: hands over the deposits of the training events when they are asked for.

    Attributes:
        log: file with what a child printed that helps another one; it is there as long as the context lasts.
        confined: whether the system keeps the child from the forbidden folders.
    """

    def __init__(
        self,
        order: Order,
        handout: Handout | None,
        forbidden: Sequence[Path],
        progress: Progress,
        deposits: DepositSource | None = None,
    ) -> None:
        self._order, self._handout, self._forbidden = order, handout, forbidden
        self._progress, self._relay, self._deposits = progress, ProgressRelay(progress), deposits
        self._folder = order.handout
        self._returned, self._temporary = self._folder / "returned", self._folder / "tmp"
        self.log = self._folder / f"process{order.job.seat.number if order.job.seat else 0}.log"

    def __enter__(self) -> Self:
        self._kernels = make_kernel_caches(self._order.job.device)
        if self._handout is not None:
            self._empty()
        for folder in (self._returned, self._temporary):
            make_folder(folder)
        if self._handout is not None:
            self._handout.save(self._folder)
        commands, our_commands = os.pipe()
        our_answers, answers = os.pipe()
        printed: IO[bytes] | None = None
        try:
            printed = self.log.open("wb") if self._handout is None else None
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nubench.evaluation.sealed_child", str(commands), str(answers)],
                pass_fds=(commands, answers),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env=_environment(self._temporary),
            )
        except BaseException:
            for end in (our_commands, our_answers):
                os.close(end)
            raise
        finally:
            for end in (commands, answers):
                os.close(end)
            if printed is not None:
                printed.close()
        self._commands: IO[str] = os.fdopen(our_commands, "w", encoding="utf-8")
        self._answers: IO[str] = os.fdopen(our_answers, encoding="utf-8", errors="replace")
        self._sender = Sender(self._commands)
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._relay.close()
        for pipe in (self._commands, self._answers):
            with suppress(OSError):
                pipe.close()
        # A child without its pipes ends by itself; one that was interrupted has been so with us, or is told.
        if isinstance(error, KeyboardInterrupt):
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._handout is None:
            self.log.unlink(missing_ok=True)
        else:
            self._empty()

    def kill(self) -> None:
        """End the child at once, from any thread; whoever waits for its answer is told that it was killed."""
        self._process.kill()

    def fit(self) -> None:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.fit`.

        Raises:
            NubenchError: what the method raised, or how the child ended.
        """
        self._ask("fit")

    def source_outputs(self, split: SourceSplit) -> Outputs:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.source_outputs`.

        Raises:
            NubenchError: as :meth:`fit`.
        """
        return self._arrays(lambda file: self._ask("source", split=split, outputs=file))

    def outputs(self, events: Events) -> Outputs:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.outputs`.

        Raises:
            NubenchError: as :meth:`fit`.
        """
        handed = self._folder / "events.safetensors"
        save_events(handed, events)
        try:
            return self._arrays(lambda file: self._ask("outputs", events=str(handed), outputs=file))
        finally:
            handed.unlink(missing_ok=True)

    def report(self) -> Report:
        """See :meth:`nubench.evaluation.trainee.TrainingSession.report`.

        Raises:
            NubenchError: as :meth:`fit`.
        """
        try:
            return Report.model_validate(self._ask("report"))
        except ValidationError as error:
            raise PluginError(f"method {self._method!r} reported {problems_of(error)[0]}") from error

    @property
    def _method(self) -> str:
        return self._order.job.method

    def _arrays(self, ask: Callable[[str], Any]) -> Outputs:
        file = self._returned / "outputs.safetensors"
        try:
            ask(str(file))
            return Outputs.load(file)
        finally:
            file.unlink(missing_ok=True)

    def _ask(self, command: str, **content: str) -> Any:
        """Give a command, and show progress until it is answered."""
        self._send(command=command, **content)
        while True:
            line = self._answers.readline(_LONGEST_LINE)
            if not line:
                raise self._ended()
            try:
                message = json.loads(line)
                if self._relay.show(message):
                    continue
                kind = message["kind"]
                if kind == "error":
                    raise ERRORS[message["error"]](str(message["message"]))
                value = message["value"] if kind == "done" else None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise PluginError(
                    f"method {self._method!r} wrote something of its own to the evaluation: {line[:200]!r}"
                ) from error
            if kind == "done":
                return value
            self._hand_over_deposits()

    def _hand_over_deposits(self) -> None:
        file = self._folder / "deposits.safetensors"
        if self._handout is None:
            # The child that is helped asks for them as well.
            while not file.exists() and self._process.poll() is None:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        elif self._deposits is None:
            raise PluginError(f"method {self._method!r} asks for deposits that it was not offered")
        elif not file.exists():
            save_deposits(file, *self._deposits())
        self._send(command="deposits", file=str(file))

    def _send(self, **message: Any) -> None:
        try:
            self._sender.send(**message)
        except BrokenPipeError:
            raise self._ended() from None

    def _start(self) -> None:
        job = self._order.job
        walls = {
            "forbidden": self._forbidden,
            "allowed": (self._returned, self._temporary, job.directory, job.source_directory, *self._kernels),
            # What lies beside the forbidden folders is read, and decides what others compute.
            "unchanged": (*{folder.parent for folder in self._forbidden}, *code_folders()),
            "readable": (self._folder, *self._order.plugin_files),
        }
        self._send(**{name: [str(path) for path in paths] for name, paths in walls.items()})
        self._send(**self._order.model_dump(mode="json"))
        # Its first line, which it writes before it imports anything of others.
        line = self._answers.readline(_LONGEST_LINE)
        if not line:
            raise self._ended()
        self.confined: bool = json.loads(line)["confined"]
        if not self.confined:
            self._progress.say(UNCONFINED)

    def _ended(self) -> BaseException:
        """Why the child is gone."""
        code = self._process.wait()
        if code == INTERRUPTED or code == -signal.SIGINT:
            return KeyboardInterrupt()
        if code < 0:
            name = signal.Signals(-code).name
            hint = "; it may have run out of memory" if name == "SIGKILL" else ""
            return NubenchError(f"the training of {self._method!r} was killed by {name}{hint}")
        return NubenchError(f"the training of {self._method!r} ended without an answer, with exit code {code}")

    def _empty(self) -> None:
        """Remove what was handed over; a killed evaluation leaves it for the next one to remove."""
        for file in self._folder.glob("*.safetensors"):
            file.unlink(missing_ok=True)
        # What the child made may be anything, a link among it: that goes, and not what it leads to.
        for folder in (self._returned, self._temporary):
            shutil.rmtree(folder, ignore_errors=True)


def _environment(temporary: Path) -> dict[str, str]:
    """What the child finds in its environment: all but the way to the cache."""
    kept = {name: value for name, value in os.environ.items() if name != CACHE_VARIABLE}
    # What is imported here is imported there, also where the path was changed by hand.
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return {**kept, "PYTHONPATH": path, "TMPDIR": str(temporary)}
