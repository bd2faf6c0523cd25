"""The command-line tools behind ``tools/``: one module for each, which parses the arguments."""
