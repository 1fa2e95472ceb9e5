"""The command `gradclip`, also as `python -m gradclip_cli`: what must be said first of all."""

import gc
import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    # Until the command has begun, Ctrl-C is to end it quietly, not with a traceback of imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A run is short and makes no cycles worth collecting, but the imports, and a dump of 100,000
    # tensors, make objects enough for the collector to take up to a third of the time.
    gc.disable()
    # NumPy's BLAS would start a thread that spins for work and gets none: a dot product of 1,024
    # values is not shared out. Only the command says so; a library must leave its process alone.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from gradclip_cli.cli.app import main as run
    except (ImportError, OSError) as error:  # a module that one may not read, or a library's
        # What puts errors into words may be what is missing.
        said = " ".join(str(getattr(error, "filename", None) or error).split())
        reason = f": {error.strerror}" if isinstance(error, OSError) else ""
        sys.stderr.write(
            f"gradclip: the installation is not whole: {said}{reason}\n"
            "hint: may you read all of it? else install it anew: "
            "pip uninstall gradclip-cli, and pip install\n"
        )
        sys.exit(2)
    try:
        run()
    finally:
        # On its way out Python looks through all that the run made, modules too, for cycles to take
        # apart: a tenth of the time of a small run. The system takes the memory back at once.
        gc.freeze()


if __name__ == "__main__":
    main()
