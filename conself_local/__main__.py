"""`python -m conself_local` is `conself`."""

from conself_local.cli.main import main

if __name__ == "__main__":
    main()
