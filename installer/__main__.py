"""`python -m installer`: the installer from inside an installed environment (`check`, `status`, `uninstall`)."""

import sys

from installer.cli import main

sys.exit(main(sys.argv[1:]))
