"""Makes the demo model: data, training, export and evaluation. See tools/README.md for the commands."""
