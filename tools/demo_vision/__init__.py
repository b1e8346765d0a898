"""Draws pictures, trains the demo vision model on them, exports and evaluates it: run by hand, never by the host."""
