"""Files that Flax has written, and the script that made them."""
