"""The worker: `python -m backends.worker LINK` runs one backend with one model and speaks frames on a socket.

`control` reads commands, `engine` carries them out, `link` is the socket between them and the daemon. Above it:
`native_host.worker_process` at the other end. Below it: a `Backend`.
"""
