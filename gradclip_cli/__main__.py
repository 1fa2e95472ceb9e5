"""The command `gradclip`, also as `python -m gradclip_cli`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    # Until the command has begun, Ctrl-C is to end it quietly, not with a traceback of imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gradclip_cli.cli import main as run

    run()


if __name__ == "__main__":
    main()
