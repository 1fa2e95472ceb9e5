"""What is typed: options and help, one module a command, and the boundary to the process."""
