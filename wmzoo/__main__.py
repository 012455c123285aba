"""``python -m wmzoo`` is the ``wmzoo`` command."""

import sys

from wmzoo.cli import main

sys.exit(main())
