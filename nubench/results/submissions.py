"""From a finished run to a file on the leaderboards, and from such a file back to what it was computed from.

A submission is a small JSON file. Its predictions stay in the cache of whoever ran it; the file holds their SHA-256.
Nothing is submitted that is not exactly what the predictions and the labels give, and whoever has both can check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from nubench.errors import DataError, NubenchError, PluginError, UsageError, unknown_name
from nubench.evaluation.metrics import Metric
from nubench.evaluation.predictions import read_predictions
from nubench.evaluation.recomputation import NotAtHandError, TruthSource, first_difference
from nubench.results.files import SUBMISSIONS, read_result, submission_path, write_result
from nubench.results.schema import Result
from nubench.storage.files import sha256_of

RESULTS: Final = "results"
PREDICTIONS: Final = "predictions"
#: Ending of the files of predictions.
SUFFIX: Final = ".safetensors"

State = Literal["ok", "different", "invalid", "not at hand"]


@dataclass(frozen=True)
class Verdict:
    """What came out of computing one submission again.

    Attributes:
        path: of the submission.
        state: ``"ok"``; ``"different"``, when its predictions give something else; ``"invalid"``, when the file is no
            result or stands in the wrong place; ``"not at hand"``, when predictions or data are not on this machine.
        reason: one line, empty for ``"ok"``.
    """

    path: Path
    state: State
    reason: str = ""


def run_file(cache: Path, key: str) -> Path:
    """Where the result of a run is kept in a cache."""
    return cache / RESULTS / f"{key}.json"


def find_run(cache: Path, run: str) -> Path:
    """Find the result file of a run.

    Args:
        cache: the folder that runs were kept in.
        run: path of a result file, or the name of a run as `nubench run` prints it.

    Raises:
        UsageError: when there is none.
    """
    path = Path(run)
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted((cache / RESULTS).glob("*.json"))}
    if run not in known:
        where = f"(those in {cache / RESULTS}; the path of a result file is accepted as well)"
        raise UsageError(f"{unknown_name('run', run, known)} {where}")
    return known[run]


def runs_to_submit(cache: Path, *, unsealed: bool = False) -> list[Path]:
    """Every result in a cache that may be submitted, the oldest first, so that a later repetition replaces it.

    Raises:
        DataError: when a result cannot be read.
    """
    found = [(read_result(path), path) for path in sorted((cache / RESULTS).glob("*.json"))]
    fit = [
        (result.created, path) for result, path in found if result.schema_version > 1 and (result.sealed or unsealed)
    ]
    return [path for _, path in sorted(fit)]


def predictions_of(run: Path) -> Path:
    """Where the predictions of a run are kept: in the folder ``predictions`` beside that of its result."""
    return run.parent.parent / PREDICTIONS / f"{run.stem}{SUFFIX}"


def submit(
    run: Path, leaderboards: Path, truth: TruthSource, metrics: Sequence[Metric] = (), *, unsealed: bool = False
) -> Path:
    """Compute a finished run again from its predictions, and put its result among the submissions.

    The boards are not written anew; see :func:`nubench.leaderboard.generate.generate_leaderboards`.

    Args:
        run: its result file in a cache.
        leaderboards: the folder with the folder ``submissions``.
        truth: where labels come from.
        metrics: those that plugins bring.
        unsealed: whether a run is accepted whose plugin was not kept apart from the labels.

    Returns:
        The file that was written.

    Raises:
        UsageError: when the run was not sealed and ``unsealed`` is False.
        DataError: when the result is no valid one or of version 1, its predictions or data are not at hand, or what
            they give differs; the message names the first field that does.
        NubenchError: when the file cannot be written.
    """
    result = read_result(run)
    if result.schema_version < 2:
        raise DataError(f"{run}: a result of schema version 1 holds no digest of its predictions; run it again")
    if not result.sealed and not unsealed:
        raise UsageError(
            f"{run.stem} was run with --no-sealed, so nothing kept its plugin from the labels; run it again without, "
            f"or submit it as what it is: nubench submit {run.stem} --unsealed"
        )
    predictions = predictions_of(run)
    if not predictions.is_file():
        raise NotAtHandError(f"{predictions}: the predictions of the run are not there; remove {run} and run it again")
    check(result, predictions, truth, metrics)
    path = submission_path(leaderboards, result)
    write_result(result, path)
    return path


def check(result: Result, predictions: Path, truth: TruthSource, metrics: Sequence[Metric] = ()) -> None:
    """Raise unless a result is what its predictions and the labels give.

    Raises:
        NotAtHandError: when data or the plugin of a metric are not here.
        DataError: when the file of predictions is not the one of the result, or a field of the result differs.
    """
    digest = sha256_of(predictions)
    if digest != result.predictions:
        raise DataError(
            f"{predictions} is not the file that the result was computed from: its SHA-256 is {digest}, in the result "
            f"{result.predictions}"
        )
    found, known = read_predictions(predictions), truth.of(result)
    if known.doubt and not known.has_events_of(found):
        raise NotAtHandError(known.doubt)
    # Looked for in any case: a field that nothing is computed from would otherwise switch off the check of all others.
    if difference := first_difference(result, found, known, metrics):
        raise DataError(f"the result is not what its predictions give: {difference}")
    if known.doubt:
        raise NotAtHandError(known.doubt)


def verify(
    leaderboards: Path, predictions: Iterable[Path], truth: TruthSource, metrics: Sequence[Metric] = ()
) -> Iterator[Verdict]:
    """Compute every submission again whose predictions are at hand.

    Args:
        leaderboards: the folder with the folder ``submissions``.
        predictions: folders with files of predictions, whatever their names.
        truth: where labels come from.
        metrics: those that plugins bring.

    Yields:
        A verdict for each file, in the order of their paths.

    Raises:
        UsageError: when there is no folder of submissions.
    """
    submissions = leaderboards / SUBMISSIONS
    if not submissions.is_dir():
        raise UsageError(f"--leaderboards {str(leaderboards)!r} holds no submissions")
    digests = _digests(predictions)
    for path in sorted(submissions.rglob("*.json")):
        yield _verdict(path, leaderboards, digests, truth, metrics)


def _verdict(
    path: Path,
    leaderboards: Path,
    predictions: Callable[[str], Path | None],
    truth: TruthSource,
    metrics: Sequence[Metric],
) -> Verdict:
    try:
        if path.is_symlink():
            return Verdict(path, "invalid", "a link; a submission is a file")
        result = read_result(path)
    except NubenchError as error:
        return Verdict(path, "invalid", str(error).removeprefix(f"{path}: "))
    expected = submission_path(leaderboards, result)
    if path != expected:
        return Verdict(path, "invalid", f"by its content it belongs in {expected.relative_to(leaderboards)}")
    if result.predictions is None:
        return Verdict(path, "not at hand", "schema version 1 holds no digest of the predictions")
    file = predictions(result.predictions)
    if file is None:
        return Verdict(path, "not at hand", "no file of predictions with its SHA-256")
    try:
        check(result, file, truth, metrics)
    except (NotAtHandError, PluginError) as error:
        return Verdict(path, "not at hand", str(error))
    except NubenchError as error:
        return Verdict(path, "different", str(error))
    return Verdict(path, "ok")


def _digests(folders: Iterable[Path]) -> Callable[[str], Path | None]:
    """A look-up of files of predictions by their SHA-256; each is read once, and only when it is needed."""
    left = [file for folder in folders for file in sorted(folder.glob(f"*{SUFFIX}"))]
    known: dict[str, Path] = {}

    def find(digest: str) -> Path | None:
        while left and digest not in known:
            file = left.pop()
            known[sha256_of(file)] = file
        return known.get(digest)

    return find
