"""What the benchmarks found besides times, printed below their table: ratios, shares and memory."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print each benchmark's ``extra_info``, which pytest-benchmark itself writes into its JSON file only."""
    session = getattr(config, "_benchmarksession", None)
    found = [benchmark for benchmark in getattr(session, "benchmarks", []) if benchmark.extra_info]
    if found and not config.getoption("benchmark_disable"):
        terminalreporter.section("beside the times")
    for benchmark in found:
        values = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in benchmark.extra_info.items()
        )
        terminalreporter.write_line(f"{benchmark.name}: {values}")
