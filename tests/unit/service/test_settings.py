"""Unknown or invalid settings stop the start."""

import pytest

from service.settings import Settings, SettingsError, hosts_and_ports, read_settings


def test_defaults_listen_on_loopback() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.triton_url) == ("127.0.0.1", 8080, "127.0.0.1:8001")


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_PORT", "9000")
    assert read_settings().port == 9000


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(SettingsError, match=r"VITRINE_PROT.*known are.*VITRINE_PORT"):
        read_settings({"VITRINE_PROT": "1"})


def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_PORT", "seventy")
    with pytest.raises(SettingsError, match=r"VITRINE_PORT: .*integer"):
        read_settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_settings_of_the_client_may_be_in_the_same_shell() -> None:
    assert read_settings({"VITRINE_CLIENT_KEY": "secret", "VITRINE_CLIENT_NEW": "1"}) == Settings()


@pytest.mark.parametrize("wrong", ["triton", "triton:", ":8001", "a:1,b", "a:70000", "a:x", ""])
def test_tritons_that_are_not_host_and_port(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"VITRINE_TRITON_URL: .*is not host:port"):
        read_settings({"VITRINE_TRITON_URL": wrong})


def test_several_tritons() -> None:
    assert hosts_and_ports("triton-0:8001, [fd00::1]:8001") == [("triton-0", 8001), ("fd00::1", 8001)]
