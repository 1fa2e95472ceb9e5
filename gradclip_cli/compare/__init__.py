"""Two dumps: aligned by name, swept in pairs, their differences merged."""
