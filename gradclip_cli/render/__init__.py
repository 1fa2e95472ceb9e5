"""A result as text or picture: one module an output format, and a page for each kind of result."""
