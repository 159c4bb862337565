"""Turns what went wrong into a message and an exit status, at one place for all commands."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gptcore.errors import EXIT_BAD_INPUT, UserError, disk_error
from gptcore.text import clean
from gptstudio.text import paint

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@contextmanager
def failures_for_people() -> Iterator[None]:
    """Say what the person can mend, and end with the exit status for it.

    Raises:
        typer.Exit: Instead of the error.
    """
    try:
        yield
    except UserError as error:
        say_error(error)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except BrokenPipeError:
        drop_output()
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        say_error(explain(error))
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def explain(error: OSError) -> UserError:
    """What the system refused, with the path it was about."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
    where = " -> ".join(names)
    return disk_error(error.errno, where) or UserError(error.strerror or str(error), where=where)


def say_error(error: UserError) -> None:
    """Print the error on standard error."""
    mark = paint("error:", "red", sys.stderr)
    print(mark, clean(str(error), lines=True), file=sys.stderr, flush=True)


def say_warning(text: str) -> None:
    """Print a warning on standard error."""
    print(paint("warning:", "yellow", sys.stderr), clean(text), file=sys.stderr, flush=True)


def drop_output() -> None:
    """Nobody reads standard output any more: nothing may fail on it again, at exit either."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
