"""Problems: what they are, where they are read from, and the starter pack."""
