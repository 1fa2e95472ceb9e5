"""Formats that somebody else's library reads: it runs in a process of its own, which may die."""
