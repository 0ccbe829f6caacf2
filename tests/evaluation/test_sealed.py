"""The sealed child: what it cannot find, what comes back from it, and how it ends."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sealed_plugins import plugin

import nubench
from nubench.containers import Deposits, Int64, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.errors import NubenchError, PluginError, UsageError
from nubench.evaluation.confinement import can_confine
from nubench.evaluation.handout import Handout, keyed_order
from nubench.evaluation.messages import Order
from nubench.evaluation.sealed import UNCONFINED, SealedTraining
from nubench.evaluation.sealed_folders import KERNELS, code_folders, make_kernel_caches
from nubench.evaluation.trainee import Job, Trainee
from nubench.plugins.discovery import load_plugins
from nubench.progress import Progress, SilentProgress
from nubench_plugins import classifier

Make = Callable[..., LabelledEvents]
WRITES_INTO_PIPES = """
for number in range(3, 500):
    try:
        os.write(number, b"[1, 2]\\n")
    except OSError:
        pass
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _no_installed_plugins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children start faster with the plugin of the test alone."""
    if "config" not in request.fixturenames:
        monkeypatch.setenv("NUBENCH_PLUGINS", "")


@pytest.fixture
def source(synthetic_events: Make) -> Handout:
    """Source events, and unlabelled ones of the target."""
    train, val, target = (synthetic_events(count, seed) for count, seed in ((48, 1), (16, 2), (40, 3)))
    return Handout(train.events, train.labels, val.events, val.labels, target.events)


def _job(folder: Path, method: str = "mine", config: dict[str, Any] | None = None) -> Job:
    directory = folder / "cache" / "trainings" / "one"
    directory.mkdir(parents=True, exist_ok=True)
    return Job(
        method=method,
        config=config or {},
        classes=("a", "b", "c"),
        normalisation=Normalisation(offset=90, scale=10, unit="ADC counts", how="test"),
        voxel_size_cm=0.38,
        seed=3,
        device="cpu",
        profile="smoke",
        backbone="tiny",
        engine="native",
        directory=directory,
        source_directory=directory,
        threads=1,
    )


@contextmanager
def _sealed(
    folder: Path,
    handout: Handout,
    text: str | None = None,
    progress: Progress | None = None,
    deposits: Callable[[], tuple[Deposits, Int64]] | None = None,
    **job: Any,
) -> Iterator[SealedTraining]:
    files = []
    if text is not None:
        file = folder / "plugins" / "mine.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        files.append(file)
    told = _job(folder, **job)
    order = Order(
        job=told,
        plugin_files=tuple(files),
        method=told.method,
        backbone="tiny",
        detector="lartpc" if deposits else None,
        handout=folder / "cache" / "handouts" / "one",
    )
    forbidden = [folder / "cache" / name for name in ("data", "trainings", "handouts")]
    with SealedTraining(order, handout, forbidden, progress or SilentProgress(), deposits) as training:
        yield training


@pytest.mark.skipif(not can_confine(), reason="this system cannot confine a process: Landlock needs Linux 5.13")
def test_a_sealed_plugin_cannot_read_the_data_of_the_cache_or_change_what_others_use(
    source: Handout, tmp_path: Path
) -> None:
    secret = tmp_path / "cache" / "data" / "secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("0 1 2")
    # Not forbidden, but what others compute may depend on it.
    other = tmp_path / "cache" / "tables" / "other"
    other.parent.mkdir()
    other.write_text("3")
    body = f"""
tried = {{}}
for way, read in {{
    "open": lambda: open({str(secret)!r}).read(),
    "link": lambda: os.link({str(secret)!r}, context.directory / "link"),
    "move": lambda: os.rename({str(secret)!r}, context.directory / "moved"),
    "copy": lambda: os.system("cat {secret} > " + str(context.directory / "copy")) and 1 / 0,
    "parent": lambda: open(f"/proc/{{os.getppid()}}/mem", "rb").read(1),
    "change": lambda: open({str(other)!r}, "r+"),
    "make": lambda: open({str(other.with_name("new"))!r}, "w"),
    "code": lambda: open(nubench.__file__, "r+"),
    "method": lambda: open(Path(nubench.__file__).parent / "evaluation" / "new.py", "x"),
    "table": lambda: open({str(other)!r}).read(),
    "own": lambda: (context.directory / "note").write_text("x") and (context.directory / "note").read_text(),
}}.items():
    try:
        read()
    except Exception as error:
        tried[way] = type(error).__name__
(context.directory / "tried.json").write_text(json.dumps(tried))
return Guess()
"""
    with _sealed(tmp_path, source, plugin(body)) as training:
        training.fit()
    directory = tmp_path / "cache" / "trainings" / "one"
    tried = json.loads((directory / "tried.json").read_text())
    assert set(tried) == {"open", "link", "move", "copy", "parent", "change", "make", "code", "method"}
    assert secret.read_text() == "0 1 2"
    assert (directory / "copy").read_text() == ""


def test_a_system_that_cannot_bound_a_process_is_named(
    source: Handout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    # Imported by every Python that starts with this path.
    code = "from nubench.evaluation import confinement\nconfinement._version = lambda: 0\n"
    (older / "sitecustomize.py").write_text(code)
    with _sealed(tmp_path, source, plugin("return Guess()")) as training:
        assert training.confined is can_confine()
    monkeypatch.syspath_prepend(older)
    shown = _Recorded()
    with _sealed(tmp_path, source, plugin("return Guess()"), shown) as training:
        training.fit()
    assert training.confined is False
    assert shown.lines == [UNCONFINED]


def test_kernels_can_be_kept_where_a_child_needs_them_and_code_stays_as_it_is() -> None:
    package = Path(nubench.__file__).parent
    compiling = re.compile(r"^from (numba import njit|nubench\.sparse\.compilation import compiled)", re.MULTILINE)
    found = {path.parent.relative_to(package) for path in package.rglob("*.py") if compiling.search(path.read_text())}
    # What imports files is never at work in a training.
    assert {folder.as_posix() for folder in found} - {"importing"} == set(KERNELS)
    assert make_kernel_caches("cpu") == tuple(package / folder / "__pycache__" for folder in KERNELS)
    assert package in code_folders()
    assert Path(classifier.__file__).parent in code_folders()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("classifier", {"views": 96, "batch_size": 16}),
        pytest.param("supcon", {"views": 96, "batch_size": 16}, marks=pytest.mark.slow),
        pytest.param("summary-features", {}, marks=pytest.mark.slow),
    ],
)
def test_sealed_or_not_a_training_gives_the_same_to_the_last_bit(
    synthetic_events: Make, source: Handout, tmp_path: Path, method: str, config: dict[str, Any]
) -> None:
    test = synthetic_events(50, 4).events
    registry = load_plugins()
    job = _job(tmp_path / "here", method, config)
    here = Trainee(job, source, registry.method(method).thing, registry.backbone("tiny").thing, SilentProgress())
    here.fit()
    order = keyed_order(b"k" * 16, "nominal", len(test))
    with _sealed(tmp_path / "there", source, method=method, config=config) as there:
        there.fit()
        pairs = [(here.source_outputs(split), there.source_outputs(split)) for split in ("train", "val")]
        # Nor does the order matter in which test events are handed over.
        pairs.append((here.outputs(test), there.outputs(test.select(order)).select(np.argsort(order))))
        reports = [each.report() for each in (here, there)]
    for one, two in pairs:
        for name in ("embeddings", "log_probabilities"):
            first, second = getattr(one, name), getattr(two, name)
            assert (first is None) == (second is None)
            assert first is None or first.tobytes() == second.tobytes()
    same = [
        (each.parameters, each.backbone_parameters, each.flops_per_event, each.training.history) for each in reports
    ]
    assert same[0] == same[1]
    assert reports[1].device_seconds is None
    # An own process has a memory of its own.
    assert 50 < reports[1].peak_memory_mb < psutil.virtual_memory().total / 2**20
    if method != "summary-features":
        # 30 voxels, 6,700 weights of the first block alone, twice for a multiplication and an addition.
        assert reports[0].flops_per_event is not None
        assert 1e5 < reports[0].flops_per_event < 1e8


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("raise PluginError('not like this')", PluginError, "^not like this$"),
        (
            "raise ValueError('three')",
            PluginError,
            r"^method 'mine' failed in fit: ValueError: three \(/.*/mine\.py:21 in fit: raise ValueError\('three'\)\)$",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", NubenchError, "'mine' was killed by SIGKILL; it may have run out of"),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                ("raise UsageError('nor like this')", UsageError, "^nor like this$"),
                ("sys.exit(4)", PluginError, r"^method 'mine' failed in fit: SystemExit: 4 \(.*sys.exit\(4\)\)$"),
                ("return 7", PluginError, "fit returned 7; expected a nubench Model"),
                ("os._exit(3)", NubenchError, "'mine' ended without an answer, with exit code 3"),
                ("return data.target_labels", PluginError, "method 'mine' reads the labels of target events"),
                ("return data.resimulator()", UsageError, "method 'mine' simulates the training events again"),
                (WRITES_INTO_PIPES, PluginError, "method 'mine' wrote something of its own"),
            )
        ),
    ],
)
def test_how_a_training_fails_reaches_the_user_as_one_message(
    source: Handout,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    body: str,
    error: type[Exception],
    message: str,
) -> None:
    with _sealed(tmp_path, source, plugin(body)) as training:
        child = psutil.Process(training._process.pid)
        with pytest.raises(NubenchError, match=message) as raised:
            training.fit()
    assert type(raised.value) is error
    # The traceback of what a method did not foresee is for its author; how the child ends is for nobody.
    unforeseen = "failed in fit" in message
    assert capfd.readouterr().err.count("Traceback") == unforeseen
    assert not child.is_running()
    assert list((tmp_path / "cache" / "handouts" / "one").iterdir()) == []


def test_a_method_that_declared_nothing_has_no_target(source: Handout, tmp_path: Path) -> None:
    handout = Handout(source.train, source.train_labels, source.val, source.val_labels)
    message = "'mine' reads the target events but declares target_access = 'none'"
    with _sealed(tmp_path, handout, plugin("data.target")) as training, pytest.raises(PluginError, match=message):
        training.fit()


def test_test_events_come_after_the_training(synthetic_events: Make, source: Handout, tmp_path: Path) -> None:
    body = """
handout = context.directory.parents[1] / "handouts" / "one"
(context.directory / "seen").write_text(" ".join(sorted(file.stem for file in handout.glob("*.safetensors"))))
return Guess()
"""
    with _sealed(tmp_path, source, plugin(body)) as training:
        training.fit()
        made = training.outputs(synthetic_events(5, 4).events)
    assert made.embeddings is None
    assert made.log_probabilities is not None
    assert (tmp_path / "cache" / "trainings" / "one" / "seen").read_text() == "target train val"


#: Puts links to another one's files in the place of what it may write, and tries to do so where it may not.
LINKS = """
cache = context.directory.parents[1]
own, other = cache / "handouts" / "one", cache / "predictions"
done = []
for way, attempt in {
    "move": lambda: own.rename(context.directory / "moved"),
    "move within": lambda: own.rename(own.with_name("moved")),
    "move what is returned": lambda: (own / "returned").rename(own / "tmp" / "moved"),
    "add": lambda: (own / "new.safetensors").symlink_to(other / "one.safetensors"),
    "replace": lambda: (own / "train.safetensors").unlink(),
    "write": lambda: (own / "train.safetensors").write_text("lie"),
}.items():
    try:
        attempt()
        done.append(way)
    except OSError:
        pass
for folder in (own / "returned", own / "tmp"):
    (folder / "one").symlink_to(other)
    (folder / "outputs.safetensors").symlink_to(other / "one.safetensors")
(context.directory / "done").write_text(" ".join(done) or "nothing")
return Guess()
"""


@pytest.mark.skipif(not can_confine(), reason="this system cannot confine a process: Landlock needs Linux 5.13")
def test_links_lead_the_evaluation_to_no_file_of_others(
    synthetic_events: Make, source: Handout, tmp_path: Path
) -> None:
    other = tmp_path / "cache" / "predictions" / "one.safetensors"
    other.parent.mkdir(parents=True)
    other.write_text("theirs")
    with _sealed(tmp_path, source, plugin(LINKS)) as training:
        training.fit()
        made = training.outputs(synthetic_events(5, 4).events)
    assert made.log_probabilities is not None
    assert made.log_probabilities.shape == (5, 3)
    assert (tmp_path / "cache" / "trainings" / "one" / "done").read_text() == "nothing"
    assert other.read_text() == "theirs"
    assert list((tmp_path / "cache" / "handouts" / "one").iterdir()) == []


class _Recorded:
    """Progress that is written down."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[_Recorded]:
        self.lines.append(f"{title}: {done} of {total} {unit}")
        yield self
        self.lines.append("end")

    def advance(self, amount: int, note: str = "") -> None:
        self.lines.append(f"{amount} {note}")


def test_progress_of_the_child_is_shown(source: Handout, tmp_path: Path) -> None:
    body = """
context.progress.say("so far")
with context.progress.task("training", 10, "events", done=3) as task:
    task.advance(np.int64(7), "loss 1")
return Guess()
"""
    shown = _Recorded()
    with _sealed(tmp_path, source, plugin(body), shown) as training:
        training.fit()
    assert [line for line in shown.lines if line != UNCONFINED] == [
        "so far",
        "training: 3 of 10 events",
        "7 loss 1",
        "end",
    ]


def test_deposits_are_handed_over_when_they_are_asked_for(source: Handout, tmp_path: Path) -> None:
    asked = []

    def deposits() -> tuple[Deposits, Int64]:
        asked.append(1)
        rows = np.zeros((48, 3), np.float32)
        return Deposits(np.arange(49), rows, rows + 1, rows[:, 0], rows[:, 0]), np.arange(48) + 7

    body = "(context.directory / 'count').write_text(str(len(data.resimulator())))\nreturn Guess()"
    with _sealed(tmp_path, source, plugin(body), deposits=deposits) as training:
        assert asked == []
        training.fit()
    assert (tmp_path / "cache" / "trainings" / "one" / "count").read_text() == "48"


def test_the_child_ends_with_the_evaluation(source: Handout, tmp_path: Path) -> None:
    body = "(context.directory / 'began').touch()\ntime.sleep(600)"
    training = _sealed(tmp_path, source, plugin(body))
    sealed = training.__enter__()
    child = psutil.Process(sealed._process.pid)
    sealed._send(command="fit")
    while not (sealed._order.job.directory / "began").exists():
        time.sleep(0.02)
    training.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not child.is_running()


def test_the_child_does_not_outlive_a_killed_evaluation(source: Handout, tmp_path: Path) -> None:
    body = "(context.directory / 'began').touch()\ntime.sleep(600)"
    with _sealed(tmp_path, source, plugin(body)) as training:
        child = psutil.Process(training._process.pid)
        training._send(command="fit")
        while not (training._order.job.directory / "began").exists():
            time.sleep(0.02)
        # What the system does when a process is gone: its ends of the pipes are closed.
        training._commands.close()
        child.wait(60)
    assert not child.is_running()
