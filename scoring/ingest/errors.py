"""What can go wrong while a file is read as a stream of payments."""


class IngestError(ValueError):
    """A file or a mapping cannot be used; `remedy` says what to do about it."""

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


class MappingError(IngestError):
    """The mapping is wrong in itself, or does not fit the file's values."""


class UnknownLayout(IngestError):
    """No shipped mapping, or not the one named, fits the columns of the file."""


class UnreadableFile(IngestError):
    """The file is missing, empty, or of a kind that is not read."""
