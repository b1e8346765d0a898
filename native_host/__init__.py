"""The host that a browser starts: relay, daemon, dispatch, jobs, models, statistics, and the command line."""
