"""The command line: the verbs of the pages, as `python -m services`."""
