"""The command line: its errors, its pipes and signals, and what a person sees."""
