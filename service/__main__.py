"""`python -m service`: the gateway as a process."""

import logging
import signal
import sys

import uvicorn

from service.app import create_app
from service.settings import SettingsError, read_settings


def main() -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are finished first."""
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    access = logging.StreamHandler(sys.stdout)
    access.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("vitrine.access").addHandler(access)
    logging.getLogger("vitrine.access").propagate = False
    # uvicorn finishes what it has, then raises the signal anew for whoever handled it before: that is a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
