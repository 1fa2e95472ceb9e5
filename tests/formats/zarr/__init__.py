"""Folders that Zarr and Orbax have written, and the script that made them."""
