"""The tests of gradclip: each name is a sentence that is true."""

import signal

# Under nohup a hang-up is ignored, which commands inherit; what they do at one is tested here.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Likewise a shell that starts something in the background lets it inherit an ignored Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
