"""What the projects of the workspace share: command line, logging, distributed set-up, checkpoint I/O.

Nothing here knows any paper. The modules are imported by name (``from shared_utils import checkpoint``), so that a
command that only needs one of them does not pay for the others.
"""


class UserError(ValueError):
    """A mistake that the user can mend: the message is one sentence that names the thing and the fix.

    The command line prints it as one line and exits with status 2 (see ``shared_utils.cli``); to a library user it is
    a ``ValueError``.
    """
