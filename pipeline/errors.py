"""The one error class for mistakes a user can mend, and how it prints."""


class InputError(Exception):
    """A mistake in a file, a setting or an argument, told in one line.

    where: the file or key. found: what is there. allowed: what would be right.
    The command line prints the line and exits with status 2; nothing is written.
    """

    def __init__(self, where: object, found: str, allowed: str) -> None:
        super().__init__(" ".join(f"{where}: {found}; allowed: {allowed}".split()))
        self.where, self.found, self.allowed = str(where), found, allowed

    def __reduce__(self):
        return type(self), (self.where, self.found, self.allowed)


class CombinedInputError(InputError):
    """Several mistakes, found together and told one a line."""

    def __init__(self, problems: list[InputError]) -> None:
        Exception.__init__(self, "\n".join(map(str, problems)))
        self.problems = problems
        self.where, self.found, self.allowed = problems[0].where, problems[0].found, problems[0].allowed

    def __reduce__(self):
        return type(self), (self.problems,)


class FileWarning(UserWarning):
    """What was mended in a file, or is odd about it, in one line; the command line prints it, whatever the filters."""
