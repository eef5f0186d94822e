"""`python -m service`: the gateway as a process, or several."""

import logging
import os
import sys
from collections.abc import Mapping

from service.app import check, create_app
from service.keys import KeysError
from service.server import UNIX, Server, listen, log_to_streams, share_freed_memory
from service.settings import SettingsError, hosts_and_ports, read_settings
from service.workers import Workers

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TRITONS_HTTP_PORT = 8000
_log = logging.getLogger("vitrine")


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Serve until SIGTERM or SIGINT, as `environment` says; requests in flight are finished first."""
    try:
        settings = read_settings(environment)
        check(settings)
    except (SettingsError, KeysError) as error:
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    share_freed_memory()
    log_to_streams()
    if settings.api_keys_file is None and settings.host not in _LOOPBACK and not settings.host.startswith(UNIX):
        _log.warning("listening on %s without API keys: whoever reaches it may use it", settings.host)
    if any(port == _TRITONS_HTTP_PORT for _, port in hosts_and_ports(settings.triton_url)):
        _log.warning("VITRINE_TRITON_URL names port 8000, which is Triton's HTTP as a rule; its gRPC is at 8001")
    listener, metrics = listen(settings)
    if settings.workers > 1:
        return Workers(settings, listener, metrics).run()
    Server(create_app(settings), settings, metrics).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
