"""`nubench check` as a function: every check of a method on synthetic events, within a minute."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nubench.authoring.checks import CHECKS, Check
from nubench.authoring.trial import Trial
from nubench.authoring.verdicts import CheckFailedError, CheckSkippedError
from nubench.errors import UsageError
from nubench.methods import Method
from nubench.plugins.loading import reason_of

SECONDS: Final = 55.0

Verdict = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: of the check.
        proves: what holds where it is ok.
        verdict: ``"ok"``, ``"FAILED"`` or ``"skipped"``.
        detail: what was found, or why it was skipped.
        advice: what to change; empty where it did not fail.
    """

    name: str
    proves: str
    verdict: Verdict
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.name}: {self.verdict}: {self.detail}"
        return f"{line}\n  change: {self.advice}" if self.advice else line


def check_method(
    method: type[Method], settings: Mapping[str, Any] | None = None, seconds: float = SECONDS
) -> list[CheckResult]:
    """Try a method on synthetic events, on the CPU and on CUDA where there is such a device.

    Args:
        method: the class.
        settings: values of its settings, as ``--set`` takes them; ``views`` and ``batch_size`` are small by default.
        seconds: of processor time; checks that would take longer than this together are skipped. A machine that is
            busy with other work makes a check slower, and leaves none out.

    Returns:
        One result for each check, in a fixed order. Nothing that the method raises comes through.

    Raises:
        UsageError: when a setting does not exist or has a value that is not accepted.
    """
    results: list[CheckResult] = []
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="nubench-check-") as folder, _one_thread():
        try:
            trial = Trial(method, settings or {}, Path(folder))
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            first = CHECKS[0]
            return [CheckResult(first.name, first.proves, "FAILED", reason_of(error), first.advice)]
        for check in CHECKS:
            results.append(_result(check, trial, results, seconds - (time.process_time() - start)))
    return results


def failures_of(results: list[CheckResult]) -> list[CheckResult]:
    """Those that failed."""
    return [result for result in results if result.verdict == "FAILED"]


def _result(check: Check, trial: Trial, before: list[CheckResult], seconds_left: float) -> CheckResult:
    failed = {result.name for result in failures_of(before)}
    if check.fits is not None and "fit" in failed:
        return CheckResult(check.name, check.proves, "skipped", "fit failed")
    if check.fits:
        each = trial.fitted.processor_seconds
        if check.fits * each > seconds_left:
            reason = f"it needs {check.fits} trainings of {each:.0f} s; make them shorter with settings"
            return CheckResult(check.name, check.proves, "skipped", reason)
    try:
        return CheckResult(check.name, check.proves, "ok", check.run(trial))
    except CheckSkippedError as reason:
        return CheckResult(check.name, check.proves, "skipped", str(reason))
    except CheckFailedError as found:
        return CheckResult(check.name, check.proves, "FAILED", str(found), found.advice or check.advice)
    except (Exception, SystemExit) as error:
        return CheckResult(check.name, check.proves, "FAILED", reason_of(error), check.advice)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches are tiny: threads would wait for each other, and another number of threads is another last bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
