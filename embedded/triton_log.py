"""Triton's log for people: warnings and errors only, each once, without what every machine without a GPU says."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable

_LINE = re.compile(r'\S+Z ([IWEF]) \d+ \S+\] "?(.*?)"?')
_LEVELS = {"W": "warning", "E": "error", "F": "fatal"}
_HARMLESS = re.compile(
    r"DCGM|NVML|nvml|CudaDriverHelper|pinned system memory"
    # Said again, with the entry's name, by "failed to load".
    r"|^ERROR: Failed to create instance|failed to load all models"
)
_NOT_FOR_PEOPLE = ("+-", "| ", "Signal (15)")  # Tables, and that it was told to end.
_REPEAT_AFTER_S = 600.0
_REMEMBERED = 200


class TritonLog:
    """Turns lines of Triton's log into lines to show.

    Triton tries a broken entry again at every poll of the repository: what it says of that is shown once in ten
    minutes.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._shown: OrderedDict[str, float] = OrderedDict()

    def readable(self, line: str) -> str | None:
        """`line` for people, or None where it is not worth showing."""
        match = _LINE.fullmatch(line)
        if match is None:  # Not Triton's own: a backend's process, or a crash.
            return None if not line.strip() or line.startswith(_NOT_FOR_PEOPLE) else self._once(f"triton: {line}")
        level = _LEVELS.get(match[1])
        if level is None or _HARMLESS.search(match[2]):
            return None
        # The Python backend puts a traceback behind "At:".
        message = match[2].partition(r"\n\nAt:")[0].replace(r"\n", " ")
        return self._once(f"triton {level}: {message}")

    def _once(self, text: str) -> str | None:
        now = self._now()
        if now - self._shown.get(text, float("-inf")) < _REPEAT_AFTER_S:
            return None
        self._shown[text] = now
        self._shown.move_to_end(text)
        if len(self._shown) > _REMEMBERED:
            self._shown.popitem(last=False)
        return text
