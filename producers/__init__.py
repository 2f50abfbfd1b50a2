"""Sources of pages: one source a file."""
