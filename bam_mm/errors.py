"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Wrong data, configuration or arguments: something that the user can mend.

    The message names the value, the place and the remedy. The command-line tools print that
    message alone (no traceback) and exit with 1. Everything else is a defect and keeps its
    traceback.
    """

    def __str__(self) -> str:
        # A DataLoader worker sends an exception to the main process as its formatted traceback.
        # What the user needs is what stands after the last "InputError: " in it.
        return super().__str__().rsplit("errors.InputError: ", maxsplit=1)[-1].strip()
