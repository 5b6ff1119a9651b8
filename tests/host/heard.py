"""What is said in the log."""

import logging


class Heard(logging.Handler):
    """Keeps what is logged, from a level on."""

    def __init__(self, level: int = logging.INFO):
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def take(self) -> list[str]:
        """What was said since the last time."""
        lines, self.lines = self.lines, []
        return lines
