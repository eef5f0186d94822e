"""`python -m service`: the gateway as a process, or several."""

import logging
import sys

from service.app import create_app
from service.keys import KeysError
from service.server import Server, log_to_streams, share_freed_memory
from service.settings import SettingsError, read_settings
from service.workers import Workers

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
    share_freed_memory()
    log_to_streams()
    if settings.api_keys_file is None and settings.host not in _LOOPBACK:
        _log.warning("listening on %s without API keys: whoever reaches it may use it", settings.host)
    if settings.workers == 1:
        Server(app, settings).run()
    else:
        Workers(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
