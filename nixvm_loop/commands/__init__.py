"""One module per command: what each puts together, and the exit code that comes of it."""
