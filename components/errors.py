"""The errors that Lapidar raises on purpose. Each message names the value, the place and the remedy."""


class LapidarError(Exception):
    """A failure with a message that is meant for the user. The command line exits with 1."""


class InputError(LapidarError):
    """Wrong usage or wrong input: the user can mend it. The command line exits with 2."""


class StageFailed(LapidarError):
    """A stage's child process ended without a sealed output."""


class StageKilled(StageFailed):
    """A stage's child process was killed from outside; running it again goes on from its last checkpoint."""


class ParityError(LapidarError):
    """A model after a hand-over isn't the model before it."""
