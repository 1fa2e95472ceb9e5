"""Each command, from what it is given to what it says."""
