"""Exceptions of the libraries that a user error causes, and the message for each."""

from __future__ import annotations

from collections.abc import Iterator

from bam_mm.errors import InputError

MESSAGES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        OSError,
        "cannot find the requested files in the local cache",
        "pretrained=True asks for weights that are not in the Hugging Face cache of this machine, "
        "and they could not be downloaded: leave it out, and set the file that you have, as in "
        "--cfg-options checkpoint=PATH",
    ),
    (
        ValueError,
        "Expected more than 1 value per channel when training",
        "BatchNorm needs two values per channel, but a batch has a single image: set --cfg-options "
        "train_dataloader.drop_last=True, and train_dataloader.batch_size to at least 2",
    ),
    (
        ValueError,
        "persistent_workers option needs num_workers > 0",
        "num_workers=0 goes with persistent_workers=False: set both in this loader, as in "
        "--cfg-options train_dataloader.num_workers=0 train_dataloader.persistent_workers=False",
    ),
    (
        RuntimeError,
        "channels instead",
        "a convolution of the model gets maps of another width than it has ({error}): set "
        "in_channels of the backbone to 3, or that of the neck and heads to the backbone's widths",
    ),
    (
        AssertionError,
        "doesn't match the number of specified classes",
        "{error} Name the folders to use in classes of a bam_mm.ImageFolder, or use the data "
        "that the classes are meant for",
    ),
)
"""Kind of each exception, a part of its text, and the message, in which ``{error}`` is the text."""


def translated(error: BaseException) -> InputError | None:
    """Return the message for an exception of a library, None if it is not a known user error.

    Args:
        error: Exception, possibly of mmengine's registry, which wraps those of constructors.
    """
    found = None
    for cause in causes(error):
        for kind, part, message in MESSAGES:
            if isinstance(cause, kind) and part in str(cause):
                found = InputError(message.format(error=str(cause).strip()))
    return found


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those that it wraps.

    mmengine's registry raises its wrapper without ``from``, and quotes the exception in it. An
    exception that does not quote the one handled at the time is another fault.

    Args:
        error: The exception that was caught.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or _quoted(cause)


def _quoted(error: BaseException) -> BaseException | None:
    context = None if error.__suppress_context__ else error.__context__
    text = str(context or "")
    return context if text and text in " ".join(map(str, error.args)) else None
