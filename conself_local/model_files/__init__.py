"""Model files on disk: finding, downloading, checking, reading and converting them."""
