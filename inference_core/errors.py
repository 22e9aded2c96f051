"""Errors of the framework; each message stands alone and names the remedy."""


class InferenceError(Exception):
    """Base of all errors raised by inference_core."""


class ProgramError(InferenceError, ValueError):
    """A program cannot be built from these parts."""


class RuleError(ProgramError):
    """A rule's definition is not valid; the message names the rule and the place in its expression."""


class ArtifactRefused(InferenceError):
    """A stored program failed a check and was not loaded."""


class SchemaMismatch(InferenceError, ValueError):
    """Rows or models do not fit the feature schema of the program."""


class DeviceError(InferenceError):
    """A device cannot be used in this process; the message says why and what to do."""


class SchedulingError(InferenceError, ValueError):
    """A scheduler cannot be built or used as asked; the message names the field and the remedy."""
