"""The command `luperson-nl finetune`."""

import sys

from luperson_nl.commands.finetune import main

if __name__ == "__main__":
    sys.exit(main())
