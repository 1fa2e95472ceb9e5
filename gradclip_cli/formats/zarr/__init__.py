"""Zarr and Orbax: folders of chunks, how they are known, and what tensorstore finds in them."""
