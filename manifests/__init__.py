"""Host-manifest templates and the table of browsers: data, read through importlib.resources."""
