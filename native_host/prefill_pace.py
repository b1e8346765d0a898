"""How long a prompt's reading still takes, from the steps that it has taken.

Above it: `native_host.generation`, which hears of the steps from the worker.
"""

from collections import deque

TELLING_SHARE = 0.02
"""How much of a prompt's reading must be done before it tells how long the rest takes."""


class PrefillPace:
    """The steps of one prompt's reading: how many tokens were done, and when (seconds of any one clock)."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._steps: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> None:
        """So many tokens are done. An engine may say the same again while one of its steps takes long: that is none."""
        self._first = self._first or (now, done)
        if not self._steps or done > self._steps[-1][1]:
            self._steps.append((now, done))

    def left_ms(self, total: int, now: float) -> int | None:
        """Milliseconds until all is read, if it goes on as of late; None until enough is, and once overdue.

        It counts down between two steps: one may take long, such as a picture's. What was done before the first, such
        as decoding pictures, says nothing of those to come; nor do quick words of a slow picture behind them, so the
        later half of the time counts.
        """
        if self._first is None:
            return None
        moved_at, done = self._steps[-1]
        left, read = total - done, done - self._first[1]
        if read <= 0 or read < TELLING_SHARE * (read + left):
            return None
        since, before = self._since((self._first[0] + moved_at) / 2)
        due = moved_at + (moved_at - since) * left / (done - before)
        left_ms = round((due - now) * 1000)
        return left_ms if left_ms >= 0 else None

    def _since(self, middle: float) -> tuple[float, int]:
        """The last step until then; those before it are needed no more."""
        while len(self._steps) > 2 and self._steps[1][0] <= middle:
            self._steps.popleft()
        return self._steps[0]
