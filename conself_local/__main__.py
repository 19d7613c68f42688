"""Run the command line: `python -m conself_local` does the same as `conself`."""

from conself_local.cli.main import main

if __name__ == "__main__":
    main()
