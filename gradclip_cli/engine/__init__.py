"""Where work is done: in line, or by threads, and how a pass hands it out."""
