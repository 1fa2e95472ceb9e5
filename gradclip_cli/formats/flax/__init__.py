"""Flax: how its `.msgpack` files are known, and where their arrays lie, as msgpack says."""
