"""What gradclip promises about time and memory, measured: `python -m benchmarks`."""
