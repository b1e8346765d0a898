"""Programs that make generated files: run by hand, never by the host."""
