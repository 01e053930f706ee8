"""The one error a user sees: what is wrong, what was found, what was expected, how to mend it."""


class DeltaspaceError(Exception):
    """A mistake that the user can mend; the command line prints it and ends with exit code 2.

    Args:
        what: the thing that is wrong, named (a file with its line, a recipe's key, a model).
        found: what is there.
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
        details = [
            f"  {label}: {text}" for label, text in (("found", found), ("expected", expected), ("mend", mend)) if text is not None
        ]
        super().__init__("\n".join([what, *details]))


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says anything; the error itself where none does."""
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))
