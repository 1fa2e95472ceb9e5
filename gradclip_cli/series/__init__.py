"""Many steps of a run: their order, what stands out, and what was measured before."""
