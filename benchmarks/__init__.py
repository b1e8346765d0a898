"""Every number that the README quotes, as a command: `python -m benchmarks`. Ours beside its peer, in one run."""
