"""The weights of the demo model and its card; no code."""
