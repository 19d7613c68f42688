"""Start the screens with `python -m tui --home DIR`; `conself tui` runs this module."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conself_local.errors import EXIT_USAGE, ConselfError
from conself_local.foreign_text import shown
from conself_local.home import Home
from conself_local.store.store import Store
from tui.app import ConselfApp
from tui.app_state import AppState


def main() -> None:
    """Run the screens on the given home; print a ConselfError with its hint to stderr and exit with EXIT_USAGE."""
    parser = argparse.ArgumentParser(prog="conself tui")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    try:
        home = Home(options.home)
        with Store(home.database) as store:
            ConselfApp(AppState(home, store)).run()
    except ConselfError as error:
        print(shown(f"conself: {error.message}\n  -> {error.hint}"), file=sys.stderr)
        sys.exit(EXIT_USAGE)


if __name__ == "__main__":
    main()
