"""`python -m vitrine` is the command `vitrine`."""

import sys

from vitrine.cli import main

if __name__ == "__main__":
    sys.exit(main())
