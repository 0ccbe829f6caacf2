"""What a result says of the machine: fields that were added are optional, and old files stay readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nubench.errors import DataError
from nubench.results.files import read_result, write_result
from nubench.results.schema import Result
from result_factory import result_content

VERSION_1 = Path(__file__).parents[1] / "fixtures" / "result-version-1.json"


def _read(folder: Path, content: dict[str, Any]) -> Result:
    path = folder / "result.json"
    path.write_text(json.dumps(content))
    return read_result(path)


def test_files_that_do_not_say_whether_the_system_bounded_the_training_are_read(tmp_path: Path) -> None:
    content = result_content()
    assert "confined" not in content["environment"]
    assert _read(tmp_path, content).environment.confined is None
    assert read_result(VERSION_1).environment.confined is None


def test_the_number_of_threads_is_kept_and_may_be_unknown(tmp_path: Path) -> None:
    content = result_content()
    assert "threads" not in content["environment"]
    assert _read(tmp_path, content).environment.threads is None
    content["environment"]["threads"] = 4
    result = Result.model_validate(content)
    write_result(result, tmp_path / "written.json")
    assert read_result(tmp_path / "written.json").environment.threads == 4
    content["environment"]["threads"] = 0
    with pytest.raises(DataError, match=r"environment\.threads"):
        _read(tmp_path, content)


@pytest.mark.parametrize("confined", [True, False, None])
def test_whether_the_system_bounded_the_training_is_kept(tmp_path: Path, confined: bool | None) -> None:
    content = result_content()
    content["environment"]["confined"] = confined
    result = Result.model_validate(content)
    write_result(result, tmp_path / "written.json")
    assert read_result(tmp_path / "written.json") == result
    assert result.environment.confined is confined


@pytest.mark.parametrize("confined", ["yes", 1])
def test_anything_but_yes_no_and_unknown_is_refused(tmp_path: Path, confined: object) -> None:
    content = result_content()
    content["environment"]["confined"] = confined
    with pytest.raises(DataError, match=r"environment\.confined"):
        _read(tmp_path, content)
