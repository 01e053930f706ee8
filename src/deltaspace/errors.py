"""The one error a user sees: what is wrong, what was found, what was expected, how to mend it."""

# Of what was found, where it is somebody's text.
_LONGEST = 2_000


class DeltaspaceError(Exception):
    """A mistake that the user can mend; the command line prints it and ends with exit code 2.

    Args:
        what: the thing that is wrong, named (a file with its line, a recipe's key, a model).
        found: what is there; of a long text the message has the beginning.
        expected: what should be there.
        mend: what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        found: object = None,
        expected: object = None,
        mend: str | None = None,
    ) -> None:
        self.what = what
        self.found = found
        self.expected = expected
        self.mend = mend
        said = (("found", _shortened(found)), ("expected", expected), ("mend", mend))
        details = [f"  {label}: {text}" for label, text in said if text is not None]
        super().__init__("\n".join([what, *details]))


def _shortened(found: object) -> object:
    if len(text := str(found)) <= _LONGEST:
        return found
    return f"{text[:_LONGEST]}… ({len(text):,} characters)"


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything; the error itself where none does."""
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))
