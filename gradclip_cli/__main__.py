"""`python -m gradclip_cli` is the command `gradclip`."""

from gradclip_cli.cli import main

main()
