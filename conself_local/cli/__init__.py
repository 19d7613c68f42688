"""The command line of `conself`. Read `main.py` first."""
