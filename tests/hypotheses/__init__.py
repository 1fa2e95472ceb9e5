"""The hypotheses on a logged number, and how they are searched."""
