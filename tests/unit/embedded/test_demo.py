"""The demo against a stand-in for the gateway."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from embedded.demo import Answer, ask, durations, picture


class Gateway(BaseHTTPRequestHandler):
    """A stand-in: one answer to a photograph, a problem for anything else."""

    def do_POST(self) -> None:
        photo = self.rfile.read(int(self.headers["Content-Length"]))
        good = (photo, self.headers["Content-Type"], self.path) == (
            b"photo",
            "image/jpeg",
            "/v1/models/vit/classify?top_k=5",
        )
        self.send_response(200 if good else 415)
        self.send_header("Server-Timing", "decode;dur=3.1, triton;dur=9")
        self.end_headers()
        self.wfile.write(
            b'{"model": "vit", "version": "2", "predictions": [{"label": "cat", "index": 3, "score": 0.5}]}'
        )

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_photograph_is_posted_and_the_answer_read(url: str) -> None:
    assert ask(url, b"photo", "vit") == Answer("vit version 2", [("cat", 0.5)], "decode;dur=3.1, triton;dur=9")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_not_asked(url: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert ask(url, b"photo", "vit").model == "vit version 2"


def test_another_answer_is_an_error(url: str) -> None:
    with pytest.raises(OSError, match="415") as caught:
        ask(url, b"something else", "vit")
    caught.value.close()  # type: ignore[attr-defined]


def test_the_answer_is_drawn_as_bars() -> None:
    text = picture(Answer("vit version 2", [("cat", 0.5), ("airplane", 0.25)], "decode;dur=3.1"))
    cat, airplane = (line for line in text.splitlines() if "█" in line)
    assert "50.0%" in cat
    assert cat.count("█") == 15
    assert "25.0%" in airplane
    assert cat.index("█") == airplane.index("█")
    assert "decode 3.1 ms" in text


def test_the_stages_are_read() -> None:
    assert durations('decode;desc="to RGB";dur=3.1, triton;dur=9,miss, total;dur=13') == [
        ("decode", 3.1),
        ("triton", 9.0),
        ("total", 13.0),
    ]
    assert durations("") == []
