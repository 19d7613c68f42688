"""Model files on disk: find, fetch, check, read and convert them."""
