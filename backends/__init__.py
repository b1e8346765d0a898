"""Engines behind one interface, one module or package each, with their registry and the worker that runs them."""
