"""`python -m service`: the gateway as a process."""

import logging
import sys

from service.app import create_app
from service.keys import KeysError
from service.server import Server
from service.settings import SettingsError, read_settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_log = logging.getLogger("vitrine")


def main() -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are finished first."""
    try:
        settings = read_settings()
        app = create_app(settings)
    except (SettingsError, KeysError) as error:
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    access = logging.StreamHandler(sys.stdout)
    access.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("vitrine.access").addHandler(access)
    logging.getLogger("vitrine.access").propagate = False
    if settings.api_keys_file is None and settings.host not in _LOOPBACK:
        _log.warning("listening on %s without API keys: whoever reaches it may use it", settings.host)
    Server(app, settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
