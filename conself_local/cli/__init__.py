"""The command line `conself`. Read `main.py` first."""
