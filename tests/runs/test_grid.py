"""The grid: which cells a call runs, what is kept of those that fail, and that they do not stop the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nubench.errors import DataError, PluginError
from nubench.progress import SilentProgress
from nubench.results.schema import Result
from nubench.runs.failures import FailureBook, RememberingProgress, failure_of, line_of
from nubench.runs.grid import Cell, Outcome, Planned, plan, requests_of, run_grid, states_to_run
from nubench.runs.request import Request
from result_factory import make_result


class FakeRunner:
    """A runner whose seeds do what the test says: a result, or an exception."""

    def __init__(self, **outcomes: Result | BaseException) -> None:
        self.outcomes = {int(name.removeprefix("seed")): outcome for name, outcome in outcomes.items()}
        self.known: dict[int, Result] = {}
        self.calls: list[int | str] = []

    def key(self, seed: int) -> str:
        return f"key-seed{seed}"

    def finished(self, seed: int) -> Result | None:
        return self.known.get(seed)

    def run(self, seed: int) -> Result:
        self.calls.append(seed)
        outcome = self.outcomes[seed]
        if isinstance(outcome, BaseException):
            raise outcome
        self.known[seed] = outcome
        return outcome

    def release(self) -> None:
        self.calls.append("release")


def cells(runner: FakeRunner, method: str = "supcon") -> list[Cell]:
    request = Request(method, "throws", dataset="lartpc")
    return [Cell(request, seed, runner, plugin_file=__file__) for seed in runner.outcomes]


def run_all(planned: list[Planned], book: FailureBook, **which: bool) -> list[Outcome]:
    progress = RememberingProgress(SilentProgress())
    return list(run_grid(planned, book, progress, states=states_to_run(**which)))


@pytest.fixture
def book(tmp_path: Path) -> FailureBook:
    return FailureBook(tmp_path)


def test_a_failed_cell_is_written_down_and_the_next_one_runs(book: FailureBook, tmp_path: Path) -> None:
    runner = FakeRunner(seed0=PluginError("method 'supcon': embed returned None"), seed1=make_result(seed=1))
    failed, done = run_all(plan(cells(runner), book), book)
    assert (failed.result, failed.tried, done.failure, done.tried) == (None, True, None, True)
    assert done.result == make_result(seed=1)
    assert runner.calls == [0, 1, "release"]
    (file,) = (tmp_path / "failures").iterdir()
    kept = json.loads(file.read_text())
    assert {name: kept[name] for name in ("method", "dataset", "shift", "source", "profile", "seed", "error")} == {
        "method": "supcon",
        "dataset": "lartpc",
        "shift": "throws",
        "source": "nominal",
        "profile": "smoke",
        "seed": 0,
        "error": "PluginError",
    }
    assert kept["message"] == "method 'supcon': embed returned None"
    assert kept["where"] is None
    assert [planned.state for planned in plan(cells(runner), book)] == ["failed", "finished"]


@pytest.mark.parametrize(
    ("which", "run"),
    [({}, [0, 1, 2]), ({"only_missing": True}, [1, 2]), ({"retry_failed": True}, [0, 2])],
)
def test_which_cells_a_call_runs(book: FailureBook, which: dict[str, bool], run: list[int]) -> None:
    runner = FakeRunner(seed0=PluginError("no luck"), seed1=make_result(seed=1), seed2=make_result(seed=2))
    runner.known[2] = make_result(seed=2)
    run_all(plan(cells(runner)[:1], book), book)
    runner.calls.clear()
    outcomes = run_all(plan(cells(runner), book), book, **which)
    # Seed 2 is finished: its runner is asked for the result, which it reads.
    assert [call for call in runner.calls if call != "release"] == run
    assert [outcome.tried for outcome in outcomes] == [seed in run and seed != 2 for seed in range(3)]
    assert outcomes[0].failure is not None


def test_events_are_forgotten_though_the_last_cell_of_a_method_is_left_out(book: FailureBook) -> None:
    first, second = FakeRunner(seed1=PluginError("no luck"), seed0=make_result()), FakeRunner(seed0=make_result())
    failed_before = [cell for cell in cells(first) if cell.seed == 1]
    run_all(plan(failed_before, book), book)
    first.calls.clear()
    run_all(plan([*reversed(cells(first)), *cells(second, "simclr")], book), book, only_missing=True)
    assert (first.calls, second.calls) == ([0, "release"], [0, "release"])


def test_the_reason_of_a_failure_holds_nothing_that_a_terminal_obeys(book: FailureBook) -> None:
    """It may quote a file of somebody else's."""
    (outcome,) = run_all(plan(cells(FakeRunner(seed0=PluginError("no\x1b[2J luck,\nat all"))), book), book)
    assert outcome.failure is not None
    assert outcome.failure.reason == "no [2J luck,\nat all"


def test_a_cell_that_succeeds_is_struck_out(book: FailureBook, tmp_path: Path) -> None:
    runner = FakeRunner(seed0=PluginError("no luck"))
    run_all(plan(cells(runner), book), book)
    runner.outcomes[0] = make_result()
    run_all(plan(cells(runner), book), book, retry_failed=True)
    assert list((tmp_path / "failures").iterdir()) == []


def test_an_exception_of_a_plugin_is_placed_in_its_file(book: FailureBook) -> None:
    def fit() -> None:
        raise ValueError("negative temperature")

    class Raising(FakeRunner):
        def run(self, seed: int) -> Result:
            fit()
            raise AssertionError

    runner = Raising(seed0=make_result())
    (outcome,) = run_all(plan(cells(runner), book), book)
    assert outcome.failure is not None
    assert outcome.failure.error == "ValueError"
    assert outcome.failure.where is not None
    assert outcome.failure.where.startswith(f"{__file__}:")
    assert outcome.failure.where.endswith('in fit: raise ValueError("negative temperature")')
    assert outcome.failure.reason.startswith("ValueError: negative temperature (")


def test_the_cause_of_an_explained_error_is_placed_where_it_is_the_plugin_s(book: FailureBook) -> None:
    class Blaming(FakeRunner):
        def run(self, seed: int) -> Result:
            try:
                raise ValueError("negative temperature")
            except ValueError as error:
                raise PluginError("method 'supcon' failed in fit") from error

    runner = Blaming(seed0=make_result())
    (outcome,) = run_all(plan(cells(runner), book), book)
    assert outcome.failure is not None
    assert outcome.failure.message == "method 'supcon' failed in fit"
    assert outcome.failure.where is not None
    assert outcome.failure.where.endswith('in run: raise ValueError("negative temperature")')
    elsewhere = Cell(Request("supcon", "throws"), 0, runner, plugin_file="another.py")
    (outcome,) = run_all(plan([elsewhere], book), book)
    assert outcome.failure is not None
    assert outcome.failure.where is None


def test_a_line_that_the_message_names_is_not_repeated(book: FailureBook) -> None:
    class Naming(FakeRunner):
        def run(self, seed: int) -> Result:
            try:
                raise ValueError("negative temperature")
            except ValueError as error:
                raise PluginError(f"method 'supcon' failed in fit ({line_of(error, __file__)})") from error

    (outcome,) = run_all(plan(cells(Naming(seed0=make_result())), book), book)
    assert outcome.failure is not None
    assert outcome.failure.where is not None
    assert outcome.failure.where in outcome.failure.message
    assert outcome.failure.reason == outcome.failure.message


def test_a_plugin_that_ends_the_process_is_a_failed_cell(book: FailureBook) -> None:
    runner = FakeRunner(seed0=SystemExit(3), seed1=make_result(seed=1))
    failed, done = run_all(plan(cells(runner), book), book)
    assert failed.failure is not None
    assert (failed.failure.error, failed.failure.message) == ("SystemExit", "SystemExit: 3")
    assert done.result is not None


def test_an_interrupt_stops_at_once_and_is_no_failure(book: FailureBook, tmp_path: Path) -> None:
    runner = FakeRunner(seed0=KeyboardInterrupt(), seed1=make_result(seed=1))
    with pytest.raises(KeyboardInterrupt):
        run_all(plan(cells(runner), book), book)
    assert runner.calls == [0]
    assert not (tmp_path / "failures").exists()


def test_a_result_that_is_not_accepted_is_a_failed_cell(book: FailureBook) -> None:
    def refuse(cell: Cell, result: Result) -> None:
        raise DataError("not what its predictions give")

    runner = FakeRunner(seed0=make_result())
    progress = RememberingProgress(SilentProgress())
    planned = plan(cells(runner), book)
    (outcome,) = run_grid(planned, book, progress, states=states_to_run(), accept=refuse)
    assert outcome.result is None
    assert outcome.failure is not None
    assert outcome.failure.message == "not what its predictions give"


def test_a_damaged_result_is_the_failure_of_its_cell_alone(book: FailureBook) -> None:
    class Damaged(FakeRunner):
        def finished(self, seed: int) -> Result | None:
            raise DataError("results/x.json: not a result file")

    runner = Damaged(seed0=DataError("results/x.json: not a result file"))
    other = FakeRunner(seed1=make_result(seed=1))
    outcomes = run_all(plan([*cells(runner), *cells(other)], book), book)
    assert [outcome.result is not None for outcome in outcomes] == [False, True]


def test_the_last_lines_before_a_failure_are_kept(book: FailureBook) -> None:
    progress = RememberingProgress(SilentProgress())

    class Talking(FakeRunner):
        def run(self, seed: int) -> Result:
            for number in range(30):
                progress.say(f"seed {seed} line {number}")
            with progress.task("training", 100, "events") as task:
                task.advance(1)
            return super().run(seed)

    runner = Talking(seed0=make_result(), seed1=PluginError("no luck"))
    _, failed = run_grid(plan(cells(runner), book), book, progress, states=states_to_run())
    assert failed.failure is not None
    assert failed.failure.log == (*(f"seed 1 line {number}" for number in range(11, 30)), "training: 100 events")


def test_cells_are_told_apart_by_what_was_asked_for() -> None:
    runner = FakeRunner(seed0=make_result())
    base = Request("supcon", "throws", dataset="lartpc")
    others = [
        Request("simclr", "throws", dataset="lartpc"),
        Request("supcon", "crosstalk", dataset="lartpc"),
        Request("supcon", "throws", dataset="lartpc", settings={"alpha": "1"}),
        Request("supcon", "throws", dataset="lartpc", source="throw1"),
        Request("supcon", "throws", dataset="lartpc", profile="laptop"),
        Request("supcon", "throws", dataset="lartpc", backbone="small"),
        Request("supcon", "throws", dataset="lartpc", device="cuda"),
    ]
    names = {Cell(request, 0, runner).name for request in (base, *others)} | {Cell(base, 1, runner).name}
    assert len(names) == len(others) + 2
    assert Cell(base, 0, FakeRunner()).name in names
    assert Cell(Request("file:supcon", "throws"), 0, runner).name.startswith("supcon-seed0-")


def test_every_combination_is_asked_for_once() -> None:
    base = Request("", "", profile="laptop", settings={"views": "10"})
    requests = requests_of(base, ["a", "b"], ["throws"], ["nominal", "throw1"])
    assert [(request.method, request.shift, request.source) for request in requests] == [
        ("a", "throws", "nominal"),
        ("a", "throws", "throw1"),
        ("b", "throws", "nominal"),
        ("b", "throws", "throw1"),
    ]
    assert {(request.profile, str(request.settings)) for request in requests} == {("laptop", "{'views': '10'}")}


def test_a_damaged_record_is_named(book: FailureBook, tmp_path: Path) -> None:
    (cell,) = cells(FakeRunner(seed0=make_result()))
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / f"{cell.name}.json").write_text("{")
    with pytest.raises(DataError, match=f"{cell.name}.json is no record of a failed run; remove it"):
        plan([cell], book)


def test_what_was_kept_is_found(book: FailureBook) -> None:
    where = {"method": "a", "dataset": "d", "shift": "s", "source": "nominal", "profile": "smoke"}
    failure = failure_of(RuntimeError("no luck"), **where, seed=0, log=("one", "two"))
    book.keep("a-seed0-1", failure)
    assert book.find("a-seed0-1") == failure
    book.forget("a-seed0-1")
    book.forget("a-seed0-1")
    assert book.find("a-seed0-1") is None
