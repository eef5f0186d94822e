"""API keys: made, read, asked for, and their rates."""

from pathlib import Path

import pytest

from service.errors import QuotaExceeded, Unauthorized
from service.keys import Keys, KeysError, main


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """A new key, and its line."""
    assert main(arguments) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    return lines[1], lines[3]


def test_a_key_that_was_made_is_known_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, line = made(capsys, "shop")
    assert key not in line
    (tmp_path / "keys").write_text(f"# of the shop\n\n{line}\n")
    keys = Keys.read(tmp_path / "keys")
    assert keys.admit(key) == "shop"
    for wrong in (None, "", key[:-1], key + "x", line.split(":")[1]):
        with pytest.raises(Unauthorized):
            keys.admit(wrong)


def test_one_key_over_its_rate_leaves_the_others_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    (slow, slow_line), (free, free_line) = made(capsys, "slow", "--rate", "2"), made(capsys, "free")
    (tmp_path / "keys").write_text(f"{slow_line}\n{free_line}\n")
    keys = Keys.read(tmp_path / "keys", clock=lambda: now[0])
    assert [keys.admit(slow) for _ in range(2)] == ["slow", "slow"]
    with pytest.raises(QuotaExceeded) as caught:
        keys.admit(slow)
    assert caught.value.retry_after == 1
    assert {keys.admit(free) for _ in range(100)} == {"free"}
    now[0] += 0.5
    assert keys.admit(slow) == "slow"
    with pytest.raises(QuotaExceeded):
        keys.admit(slow)


def test_processes_that_share_a_folder_grant_a_rate_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key, line), (other, other_line) = made(capsys, "shop", "--rate", "3"), made(capsys, "other", "--rate", "3")
    (tmp_path / "keys").write_text(f"{line}\n{other_line}")
    one, two = (Keys.read(tmp_path / "keys", shared=tmp_path, clock=lambda: 1000.0) for _ in range(2))
    assert [one.admit(key), two.admit(key), one.admit(key)] == ["shop"] * 3
    for keys in (one, two, Keys.read(tmp_path / "keys", shared=tmp_path, clock=lambda: 1000.0)):
        with pytest.raises(QuotaExceeded):
            keys.admit(key)
    assert two.admit(other) == "other"
    (tmp_path / "keys").write_text(f"{other_line}\n{line}")  # A worker that starts later reads another file.
    assert Keys.read(tmp_path / "keys", shared=tmp_path, clock=lambda: 1000.0).admit(other) == "other"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no keys"),
        ("shop sha256:abc", "line 1 is not"),
        ("a sha256:" + "0" * 64 + " rate=0", "line 1 is not"),
        ("a sha256:" + "0" * 64 + "\na sha256:" + "1" * 64, "line 2 names 'a' again"),
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(KeysError, match=words):
        Keys.read(tmp_path / "keys")
    with pytest.raises(KeysError, match="cannot be read"):
        Keys.read(tmp_path / "nothing")


@pytest.mark.parametrize("arguments", [["a b"], ["a", "--rate", "0"], ["a", "--rate", "-1"], ["a", "--rate", "nan"]])
def test_a_key_that_could_not_be_read_again_is_not_made(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
