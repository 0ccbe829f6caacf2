"""The command line: thin commands over the library. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from nubench.cli import (
    authoring,
    importing,
    launching,
    leaderboards,
    plotting,
    probing,
    running,
    selecting,
    show,
    simulate,
    submitting,
)
from nubench.cli.data import data_app
from nubench.cli.studies import study_app
from nubench.cli.value_names import with_value_names
from nubench.errors import NubenchError
from nubench.foreign_text import printable_lines
from nubench.interrupts import listening
from nubench.problems import problems_of

_INTERRUPTED: Final = "nubench: interrupted; the same command goes on from here"
#: As a shell has it: 128 and the number of SIGINT.
_INTERRUPTED_CODE: Final = 130


class _Commands(TyperGroup):
    """Ends a user's mistake and an interrupt with one message and no traceback."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command; what its options take has a name that people use, and not a type of Python's."""
        return with_value_names(super().get_command(ctx, cmd_name))

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        with _one_line():
            return super().invoke(ctx)

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the command line; it takes long enough for an interrupt to come meanwhile."""
        with _one_line():
            return super().make_context(*arguments, **named)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except NubenchError as error:
        typer.echo(f"nubench: {printable_lines(str(error))}", err=True)
        raise typer.Exit(error.exit_code) from None
    except typer.BadParameter as error:
        _name_the_value(error)
        raise
    except OSError as error:
        typer.echo(f"nubench: {printable_lines(str(error))}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(_INTERRUPTED, err=True)
        raise typer.Exit(_INTERRUPTED_CODE) from None


def _name_the_value(error: typer.BadParameter) -> None:
    """Say what was given; the words of typer are those of pydantic, which name only what is accepted."""
    from pydantic import ValidationError

    if isinstance(error.__cause__, ValidationError):
        error.message = f"{error.message}; got {problems_of(error.__cause__)[0].value!r}"


app = typer.Typer(
    name="nubench",
    cls=_Commands,
    help="Benchmark of domain adaptation on neutrino detectors: which training survives a detector that is not quite "
    "the simulated one?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nubench {version('nubench')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version and exit")
    ] = False,
) -> None:
    pass


app.command()(running.run)
app.command()(submitting.submit)
app.command()(submitting.verify)
app.command()(submitting.schema)
app.command()(leaderboards.leaderboard)
app.command()(leaderboards.compare)
app.command("list")(running.list_)
app.command()(show.show)
data_app.command("plot")(plotting.data_plot)
app.command()(simulate.simulate)
data_app.command("import")(importing.import_)
data_app.command("fetch")(importing.fetch)
app.command()(launching.status)
app.command()(authoring.new)
app.command()(authoring.check)
app.command()(authoring.plugins)
app.command()(selecting.select)
app.command("data-efficiency")(probing.data_efficiency)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point.

    Args:
        arguments: the words after ``nubench``; those of the process when left out.

    Raises:
        SystemExit: always, with the exit code.
    """
    try:
        with listening():
            app(None if arguments is None else list(arguments))
    except KeyboardInterrupt:
        # It came before the command line was read: the commands themselves are still being put together.
        typer.echo(_INTERRUPTED, err=True)
        raise SystemExit(_INTERRUPTED_CODE) from None
