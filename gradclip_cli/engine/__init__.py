"""Where work is done: in line, by threads or by a cluster, and how a pass hands it out."""
