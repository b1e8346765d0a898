"""`python -m backends.worker LINK`."""

import gc


def main() -> None:
    """Run a worker on the socket that the only argument names."""
    gc.disable()  # until the engine is imported: what importing makes stays, and to look through it takes a tenth of it
    from backends.worker.control import run

    run()


if __name__ == "__main__":
    main()
