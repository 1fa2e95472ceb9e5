"""Distributed checkpoints that torch has written, and the script that made them."""
