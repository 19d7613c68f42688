"""Problem files: one module a format, `load.py` tells them apart."""
