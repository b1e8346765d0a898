"""What the installer raises when it cannot go on."""


class InstallError(Exception):
    """One sentence for a person, and in `remedy` what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
