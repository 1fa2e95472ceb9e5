"""Pass 2: what is done to values, tried or written, and measured while it is in cache."""
