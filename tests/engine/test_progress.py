"""Progress where there is no terminal: plain lines now and then, by a clock that the test moves."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from genunlearn.engine import progress
from genunlearn.engine.progress import Watch, duration


class Clock:
    """Time that goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A watch that writes into a file, and what it has written."""

    def __init__(self, **console: object) -> None:
        self.clock, self.file = Clock(), io.StringIO()
        self.watch = Watch(console=Console(file=self.file, **console), clock=self.clock)  # type: ignore[arg-type]

    @property
    def lines(self) -> list[str]:
        return self.file.getvalue().splitlines()


def test_long_work_says_every_half_minute_what_it_does_how_far_it_is_and_how_long_it_takes() -> None:
    log = Log(width=40)
    with log.watch.bar("training, phase 1", 100) as advance:
        for _ in range(100):
            log.clock.now += 1
            advance(note="loss 0.50")
    assert log.lines == [
        "training, phase 1: 30 of 100, loss 0.50, 30 s so far, about 1 min 10 s left",
        "training, phase 1: 60 of 100, loss 0.50, 1 min 0 s so far, about 40 s left",
        "training, phase 1: 90 of 100, loss 0.50, 1 min 30 s so far, about 10 s left",
        "training, phase 1: done in 1 min 40 s",
    ]


def test_short_work_leaves_no_line() -> None:
    log = Log()
    with log.watch.bar("drawing", 1000) as advance:
        for _ in range(1000):
            log.clock.now += 0.02
            advance()
    assert log.lines == []


def test_one_slow_step_is_told_of_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.5)
    file = io.StringIO()
    with Watch(console=Console(file=file)).bar("auditing", 2):
        time.sleep(1.3)
    assert file.getvalue().startswith("auditing: 0 of 2, 1 s so far\n")
    assert "left" not in file.getvalue()  # nothing is done, so nothing is known of the rest


def test_work_that_fails_is_not_called_done() -> None:
    log = Log()
    with pytest.raises(ValueError, match="broken"), log.watch.bar("training", 2):
        log.clock.now += 60
        raise ValueError("broken")
    assert log.lines == []


def test_a_log_has_no_escape_codes_and_a_terminal_keeps_the_time_of_long_work() -> None:
    for is_terminal in (False, True):
        log = Log(force_terminal=is_terminal)
        with log.watch.bar("[b]training[/b]" if not is_terminal else "training", 2) as advance:
            log.clock.now += 61
            advance()
        assert ("\x1b" in log.file.getvalue()) is is_terminal
        assert log.lines[-1].endswith("training[/b]: done in 1 min 1 s" if not is_terminal else "done in 1 min 1 s")


def test_nobody_watches() -> None:
    watch = Watch(is_shown=False, clock=(clock := Clock()))
    with watch.bar("training", 2) as advance:
        clock.now += 60
        advance()
    assert watch.console.quiet


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (190, "3 min 10 s"), (7500, "2 h 5 min")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
