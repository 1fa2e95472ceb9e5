"""What is a dump, and what is none."""
