"""The tests of gradclip: each name is a sentence that is true."""
