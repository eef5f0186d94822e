"""Without a hub there is one clear error, soon."""

import http.server
import socket
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from build_engines.errors import WeightsUnavailableError
from build_engines.model.hub import _answers, pretrained


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a hub where nothing listens, with an empty cache."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return url


def test_an_unreachable_hub_is_one_error_that_names_the_ways_out(nobody: str) -> None:
    assert not _answers(nobody)
    with pytest.raises(WeightsUnavailableError, match=r"test_vit\.r160_in1k.*--checkpoint FILE.*--no-pretrained"):
        pretrained("test_vit.r160_in1k")
    # Asked online, its client would retry for 47 seconds.
    assert constants.HF_HUB_OFFLINE


def test_any_answer_means_that_there_is_a_hub() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    assert _answers(f"http://127.0.0.1:{server.server_port}")  # 501: the handler knows no HEAD
    thread.join()
    server.server_close()


def test_only_http_is_asked() -> None:
    assert not _answers("file:///etc/hostname")
