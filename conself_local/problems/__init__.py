"""Problems: their definition, the files that they are read from, and the starter pack."""
