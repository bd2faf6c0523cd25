"""User errors inside the exceptions of libraries."""

import pytest

from bam_mm import InputError
from bam_mm.launch.runner import user_errors_unwrapped


def test_the_message_for_the_user_is_found_below_what_wraps_it():
    with pytest.raises(InputError, match=r"^set k lower$"), user_errors_unwrapped():
        try:
            try:
                raise InputError("set k lower")
            except InputError as error:
                raise TypeError("class `Loop` in loops.py: set k lower") from error
        except TypeError:
            raise RuntimeError("while building the runner")  # noqa: B904  only a context


@pytest.mark.parametrize("kind", [InputError, KeyError])
def test_other_exceptions_pass_unchanged(kind):
    error = kind("x")
    with pytest.raises(kind) as raised, user_errors_unwrapped():
        raise error
    assert raised.value is error and error.__cause__ is None
