"""The command `rmoe inspect_experts`."""

import sys

from rmoe.commands.inspect_experts import main

if __name__ == "__main__":
    sys.exit(main())
