"""What of Triton's log people get to see."""

import pytest

from embedded.triton_log import TritonLog

FAILED = (
    "2026-11-23T00:27:02Z E 10216 model_lifecycle.cc:642] \"failed to load 'vit' version 1: Internal: "
    r'TritonModelException: no such file\n\nAt:\n  /tmp/backends/onnxruntime/model.py(162): check\n"'
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (FAILED, "triton error: failed to load 'vit' version 1: Internal: TritonModelException: no such file"),
        (
            "2026-11-23T00:28:57Z W 10216 model_lifecycle.cc:111] \"ignore version directory 'x4'\"",
            "triton warning: ignore version directory 'x4'",
        ),
        ('2026-11-23T00:27:00Z I 10216 model_lifecycle.cc:472] "loading: colours:1"', None),
        ('2026-11-23T00:26:16Z E 10018 server.cc:241] "CudaDriverHelper has not been initialized."', None),
        ('2026-11-23T00:26:16Z W 10018 metrics.cc:1] "DCGM unable to start"', None),
        ("| Backend | Path |", None),
        ("+---------+------+", None),
        ("", None),
        ("Signal (15) received.", None),
        ("Signal (11) received.", "triton: Signal (11) received."),
    ],
)
def test_only_what_needs_attention_is_shown(line: str, shown: str | None) -> None:
    assert TritonLog().readable(line) == shown


def test_what_is_said_at_every_poll_is_shown_now_and_then() -> None:
    now = 0.0
    log = TritonLog(now=lambda: now)
    assert log.readable(FAILED) is not None
    now = 1.0
    assert log.readable(FAILED) is None
    now = 601.0
    assert log.readable(FAILED) is not None
