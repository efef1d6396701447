"""One line on stderr that says what is being measured and how much is left."""
import sys
import time


class Progress:
    """Counts planned seconds of work; on a terminal the line is rewritten, elsewhere each step has its own line."""

    def __init__(self, planned_seconds):
        self._planned, self._done = max(planned_seconds, 1), 0.0
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, what, planned_seconds):
        """Says that `what` begins; its planned seconds count as done when the next step begins."""
        spent = time.monotonic() - self._started
        # The plan is a guess of the fixed parts; what has passed so far corrects it.
        pace = spent / self._done if self._done > 5 else 1.0
        left = (self._planned - self._done) * pace
        line = f"[{min(99, self._done / self._planned * 100):3.0f} %, about {left / 60:.0f} min left] {what}"
        print(f"\r\033[K{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)
        self._done += planned_seconds

    def note(self, text):
        """A line that stays."""
        print(("\r\033[K" if self._terminal else "") + text, file=sys.stderr, flush=True)

    def finish(self):
        """Clears the line and says how long it took."""
        self.note(f"measured in {(time.monotonic() - self._started) / 60:.1f} min")
