"""Start the screens with `python -m tui --home DIR`; `conself tui` runs this module."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conself_local import __version__
from conself_local.cli.group import fail, prepare_process, report_bug
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.child_log import keep_child_logs
from tui.app import ConselfApp
from tui.app_state import AppState


def main() -> None:
    """Run the screens on the given home; errors become lines and exit codes as on the command line."""
    parser = argparse.ArgumentParser(prog="conself tui")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    prepare_process()
    try:
        home = Home(options.home)
        with AppState(home) as app_state:
            home.keep_from_others()
            keep_child_logs(home.logs)
            app = ConselfApp(app_state)
            app_state.log(f"conself {__version__}: the screens open")
            app.run()
            app_state.log(f"the screens close{': ' + type(app.failure).__name__ if app.failure else ''}")
    except ConselfError as error:
        fail(error.message, error.hint)
    if app.failure is not None:
        report_bug(app.failure, home.path)
    sys.exit(app.return_code or 0)


if __name__ == "__main__":
    main()
