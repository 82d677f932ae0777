"""The command line ``lapidar``. Imports what a command needs when it runs, so that ``--help`` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input, 3 done but the gate did not pass.
"""

from __future__ import annotations

import errno
import gc
import logging
import sys
from contextlib import suppress
from pathlib import Path

import typer
from typer._click.exceptions import ClickException  # typer brings a click of its own and doesn't export its errors

from components.errors import InputError, LapidarError, disk_is_full
from flows import output
from flows.cli_accounts import accounts
from flows.cli_data import data
from flows.cli_feedback import feedback
from flows.cli_measures import measures
from flows.cli_recipes import recipes
from flows.cli_serving import serving
from flows.cli_versions import versions

_INTERRUPTED = 130  # what typer makes of Ctrl-C
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}

app = typer.Typer(
    name="lapidar",
    help="Fine-tune and align open language models into registered versions that prove themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (recipes, measures, versions, serving, data, feedback, accounts):
    app.add_typer(group)


def main() -> None:
    """Entry point: runs the command and turns errors into messages and exit codes."""
    logging.raiseExceptions = False  # a log that can't be written (a full disk) isn't worth a stack on the terminal
    as_json = "--json" in sys.argv[1:]
    if as_json and sys.stdout is None:
        print("lapidar: --json has nowhere to write: standard output is closed", file=sys.stderr)
        sys.exit(2)
    if as_json:
        output.only_json()
    code = _run(as_json)
    gc.freeze()  # the interpreter's last collection would go through all that was imported: a second for nothing
    sys.exit(code)


def _run(as_json: bool) -> int:
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except ClickException as error:
        error.show(sys.stderr)
        if as_json:
            output.error("UsageError", error.format_message())
        return 2
    except InputError as error:
        _fail(as_json, "InputError", str(error))
        return 2
    except LapidarError as error:
        _fail(as_json, type(error).__name__, str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        _fail(as_json, "Interrupted", "interrupted; finished stages are kept, run again to go on")
        return 1
    except Exception as error:
        if (said := _mendable(error)) is not None:
            _fail(as_json, "InputError", said)
            return 2
        return _unexpected(as_json, error)


def _mendable(error: Exception) -> str | None:
    """What to say of an error of the machine's that the user can mend; None of any other."""
    if disk_is_full(error):
        place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"the disk is full{place}; make room and run again, finished stages are kept"
    if isinstance(error, OSError) and error.errno in _UNWRITABLE and isinstance(error.filename, str):
        from components.settings import Settings

        if Path(error.filename).is_relative_to((settings := Settings()).root):
            return settings.unwritable(error)
    return None


def _unexpected(as_json: bool, error: Exception) -> int:
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    _fail(as_json, type(error).__name__, f"{type(error).__name__}: {error}")
    return 1


def _fail(as_json: bool, kind: str, message: str) -> None:
    print(f"lapidar: {message}", file=sys.stderr)
    if as_json:
        with suppress(OSError):  # a disk may be full that standard output goes to
            output.error(kind, message)


if __name__ == "__main__":
    main()
