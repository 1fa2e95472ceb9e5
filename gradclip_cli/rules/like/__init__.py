"""What the frameworks' own arithmetic makes of a rule, bit for bit."""
