"""The wheel's Triton as the one process of a container; `make test-compose` runs it in one."""

from pathlib import Path

import pytest

from embedded.container import PORTS, main
from embedded.preflight import Server
from embedded.tritonserver import command


def test_it_listens_on_every_address_of_its_container() -> None:
    arguments = command(Server(*[Path()] * 4), Path("/models"), Path("backends"), PORTS, "vitrine-1-")
    assert {"--grpc-address=0.0.0.0", "--grpc-port=8001"} <= set(arguments)
    assert {"--metrics-address=0.0.0.0", "--metrics-port=8002", "--allow-http=false"} <= set(arguments)


def test_a_repository_that_is_not_mounted_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "models")]) == 2
    assert f"there is no model repository at {tmp_path / 'models'}" in capsys.readouterr().err


def test_it_serves_or_prepares_but_not_nothing() -> None:
    with pytest.raises(SystemExit):
        main([])
