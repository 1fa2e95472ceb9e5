"""What a tensor holds and what it is called."""
