"""Formats of problems files, one module per format; `load.py` recognises the format of a record."""
