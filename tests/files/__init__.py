"""How files are written, whatever fails."""
