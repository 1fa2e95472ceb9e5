"""Pass 1: spans of values, read block by block, become moments that merge exactly."""
