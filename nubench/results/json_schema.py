"""The JSON Schema of result files, for readers in other languages."""

from __future__ import annotations

import json
from typing import Any

from nubench.results.schema import Result
from nubench.storage.checked_json import CHECKSUM

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DESCRIPTION = (
    "One training with one seed, read at every point of one shift. nubench checks more than a schema can say: "
    "numbers against the confusion matrix, bits against counts, and which fields a version has."
)

_CHECKED = (
    "SHA-256 of all else: of its JSON text with sorted keys, no line ends, `, ` and `: ` between items, and letters "
    "beyond ASCII escaped. It may be left out."
)


def schema_text() -> str:
    """The schema as it stands in `docs/result.schema.json`; the same for the same version of nubench."""
    return json.dumps(result_schema(), indent=1, ensure_ascii=False) + "\n"


def result_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result of any version."""
    schema: dict[str, Any] = _portable(Result.model_json_schema())
    schema["properties"][CHECKSUM] = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": _CHECKED}
    return {"$schema": _DRAFT} | schema | {"title": "Result of nubench", "description": _DESCRIPTION}


def _portable(value: Any) -> Any:
    """The same without what only this project's own readers understand."""
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _portable(inner) for name, inner in value.items()}
    if isinstance(pattern := found.get("pattern"), str):
        found["pattern"] = _ecmascript(pattern)
    if isinstance(names := found.get("patternProperties"), dict):
        found["patternProperties"] = {_ecmascript(pattern): inner for pattern, inner in names.items()}
        found["additionalProperties"] = False
    if isinstance(description := found.get("description"), str):
        found["description"] = _plain(description)
    return found


def _ecmascript(pattern: str) -> str:
    """A pattern as JSON Schema wants it, where ^ and $ are the ends of the whole text."""
    return pattern.replace(r"\A", "^").replace(r"\z", "$")


def _plain(docstring: str) -> str:
    """The first line of a docstring without the marks of its references."""
    first = docstring.split("\n\n", 1)[0].replace("\n", " ")
    return first.replace("``", "`").replace(":data:", "").replace(":mod:", "").replace(":func:", "")
