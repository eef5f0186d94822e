"""`python -m service.kserve`: the gateway as KServe's transformer, told by KServe's own flags what it stands before.

KServe's controller adds `--model_name`, `--predictor_host`, `--http_port` and, where a concurrency is set, `--workers`
to a transformer's arguments (pkg/apis/serving/v1beta1/transformer_custom.go); its Python server names the others
(python/kserve/kserve/model_server.py). Settings of the environment hold as well; a flag goes before them.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from service.__main__ import main as serve
from service.settings import PREFIX

_GRPC = "grpc-v2"
_SERVICE_PORT = 80
"""At which KServe's Service of a predictor has the container's first port."""


def settings_of(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The gateway's environment: what KServe says, and what `environment` says beside it.

    Ends the process with 2, and says why, where a flag is unknown or asks for what is not offered.
    """
    parser = argparse.ArgumentParser(prog="python -m service.kserve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model_name", required=True, help="the entry's name: it answers /v1/classify")
    parser.add_argument(
        "--predictor_host", required=True, help="host[:port] of Triton's gRPC endpoint; port 80 without"
    )
    parser.add_argument("--http_port", type=int, default=8080, help="where to listen, at every address")
    parser.add_argument("--workers", type=int, help="processes")
    parser.add_argument("--predictor_request_timeout_seconds", type=float, help="the deadline of a request")
    for flag in ("--predictor_protocol", "--protocol"):
        parser.add_argument(flag, default=_GRPC, help=f"{_GRPC}: pixels go to the predictor over gRPC only")
    parser.add_argument("--predictor_use_ssl", default="false", help="false: a mesh encrypts inside a cluster")
    parser.add_argument(
        "--enable_predictor_health_check", action="store_true", help="always: readiness asks the predictor"
    )
    given = parser.parse_args(arguments)
    if {given.predictor_protocol, given.protocol} != {_GRPC}:
        parser.error(f"the predictor is asked over gRPC: --predictor_protocol must be {_GRPC}")
    if given.predictor_use_ssl.lower() not in ("false", "0", "no"):
        parser.error("--predictor_use_ssl is not offered: let the cluster's mesh encrypt")
    host: str = given.predictor_host
    told = {
        "default_model": given.model_name,
        "triton_url": host if ":" in host else f"{host}:{_SERVICE_PORT}",
        "port": given.http_port,
        "workers": given.workers,
        "deadline_seconds": given.predictor_request_timeout_seconds,
    }
    flags = {f"{PREFIX}{name}".upper(): str(value) for name, value in told.items() if value is not None}
    return {f"{PREFIX}HOST": "0.0.0.0", **environment, **flags}  # noqa: S104 (a pod has an address of its own)


if __name__ == "__main__":
    sys.exit(serve(settings_of(sys.argv[1:], os.environ)))
