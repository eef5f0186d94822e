"""The flags that KServe's controller gives to a transformer."""

import pytest

from service.kserve import settings_of
from service.settings import read_settings

GIVEN = ["--model_name", "birds", "--predictor_host", "birds-predictor.team", "--http_port", "8080"]
"""As `CustomTransformer.GetContainer` appends them."""


def test_what_the_controller_adds() -> None:
    settings = read_settings(settings_of(GIVEN, {}))
    assert (settings.default_model, settings.port) == ("birds", 8080)
    assert settings.host == "0.0.0.0"  # noqa: S104 (a pod has an address of its own)
    assert settings.triton_url == "birds-predictor.team:80"


def test_what_a_user_adds() -> None:
    more = ["--workers", "4", "--predictor_protocol=grpc-v2", "--predictor_request_timeout_seconds", "5"]
    settings = read_settings(settings_of([*GIVEN, *more, "--predictor_host", "birds:9000"], {}))
    assert (settings.workers, settings.deadline_seconds, settings.triton_url) == (4, 5.0, "birds:9000")


def test_the_environment_holds_beside_the_flags_and_not_against_them() -> None:
    environment = {"VITRINE_MAX_IN_FLIGHT": "7", "VITRINE_DEFAULT_MODEL": "cats", "VITRINE_HOST": "127.0.0.1"}
    settings = read_settings(settings_of(GIVEN, environment))
    assert (settings.max_in_flight, settings.default_model, settings.host) == (7, "birds", "127.0.0.1")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--predictor_protocol", "v1"],
        ["--protocol", "v2"],
        ["--predictor_use_ssl", "true"],
        ["--storage_uri", "x"],
        ["--predictor", "x"],
    ],
)
def test_what_is_not_offered_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_of([*GIVEN, *wrong], {})
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
