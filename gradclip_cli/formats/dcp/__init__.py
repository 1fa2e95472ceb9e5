"""Distributed checkpoints of PyTorch: a folder whose `.metadata` says which chunk lies where."""
