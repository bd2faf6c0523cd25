"""The commands behind ``tools/``: one file a command, which parses arguments and calls the rest."""
