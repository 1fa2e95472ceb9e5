"""Files as the system has them: sources that must not change, results that take their places."""
