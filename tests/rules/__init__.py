"""The rules of clipping: what they promise, and what others do."""
