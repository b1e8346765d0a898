"""The loopback HTTP API: a second door to the dispatcher that native ports use, off unless asked for.

Importing this package costs nothing; `door` imports the packages of the `http` extra when the door is opened.
"""
