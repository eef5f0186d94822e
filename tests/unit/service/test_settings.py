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


@pytest.mark.parametrize("wrong", ["triton", "triton:", ":8001", "a:1,b", "a:70000", "a:x"])
def test_tritons_that_are_not_host_and_port(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"VITRINE_TRITON_URL: .*is not host:port"):
        read_settings({"VITRINE_TRITON_URL": wrong})


def test_several_tritons() -> None:
    assert hosts_and_ports("triton-0:8001, [fd00::1]:8001") == [("triton-0", 8001), ("fd00::1", 8001)]


def test_an_address_with_a_scheme_is_refused_with_the_fix() -> None:
    with pytest.raises(SettingsError, match=r"'grpc://triton:8001' has a scheme; write 'triton:8001'"):
        read_settings({"VITRINE_TRITON_URL": "grpc://triton:8001"})


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_is_as_if_it_were_not_there(field: str, empty: str) -> None:
    assert read_settings({f"VITRINE_{field.upper()}": empty}) == Settings()


@pytest.mark.parametrize("service", ["VITRINE", "VITRINE_GATEWAY", "VITRINE_METRICS"])
def test_what_kubernetes_tells_of_a_service_of_our_name_is_ignored(service: str) -> None:
    told = {
        f"{service}_SERVICE_HOST": "10.0.0.7",
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_PORT": "tcp://10.0.0.7:80",
        f"{service}_PORT_80_TCP": "tcp://10.0.0.7:80",
        f"{service}_PORT_80_TCP_PROTO": "tcp",
        f"{service}_PORT_80_TCP_PORT": "80",
        f"{service}_PORT_80_TCP_ADDR": "10.0.0.7",
    }
    assert read_settings(told) == Settings()
    assert read_settings({**told, "VITRINE_DEFAULT_MODEL": "birds"}).default_model == "birds"


def test_a_port_that_is_none_is_still_refused() -> None:
    with pytest.raises(SettingsError, match="VITRINE_PORT"):
        read_settings({"VITRINE_PORT": "http"})
    with pytest.raises(SettingsError, match="unknown setting VITRINE_PORTS"):
        read_settings({"VITRINE_PORTS": "tcp://10.0.0.7:80"})


def test_origins_and_paths_are_read_or_refused() -> None:
    found = read_settings(
        {"VITRINE_CORS_ORIGINS": "https://a.example, http://b.example:8000", "VITRINE_ROOT_PATH": "/v/x/"}
    )
    assert found.cors_origins == ("https://a.example", "http://b.example:8000")
    assert found.root_path == "/v/x"
    for name, wrong in (("CORS_ORIGINS", "a.example"), ("CORS_ORIGINS", "https://a.example/"), ("ROOT_PATH", "vision")):
        with pytest.raises(SettingsError, match=f"VITRINE_{name}: .*such as"):
            read_settings({f"VITRINE_{name}": wrong})


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0"])
@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.endswith("_seconds")])
def test_a_time_is_a_finite_number(name: str, value: str) -> None:
    variable = f"VITRINE_{name.upper()}"
    if (name, value) == ("drain_seconds", "0"):
        assert read_settings({variable: value}).drain_seconds == 0
        return
    with pytest.raises(SettingsError, match=variable):
        read_settings({variable: value})
