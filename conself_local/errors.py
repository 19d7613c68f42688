"""Define the errors that the core raises, and the exit codes of the command line.

Every error has a message that says what is wrong and a hint that says what to do.
Not covered: how a sampled *program* ends, which is data (`sandbox.Status`), and failures of the sandbox
(`sandbox.SandboxError`).
"""

from __future__ import annotations

EXIT_OK = 0
"""The command did what was asked."""
EXIT_FAILED = 1
"""The command ran, but its check failed (`conself verify` found a difference, for example)."""
EXIT_USAGE = 2
"""The command cannot run because of its input or of this computer; the message says what to do."""
EXIT_BUG = 70
"""The command met an error that nobody foresaw; a log in the home folder says where."""
EXIT_STOPPED = 130
"""The user stopped the command; the same command continues where it stopped."""


class ConselfError(Exception):
    """A problem that the user can solve: `message` says what is wrong, `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EngineDiedError(ConselfError):
    """The engine process did not start, died while it streamed, or died twice with no answer in between."""


class TrainingFailedError(ConselfError):
    """The trainer process ended without an adapter; its last checkpoint is kept, so training can continue from it."""


class DeviceMemoryError(ConselfError):
    """The memory of the device that trains ran out in the middle of a run; a smaller micro-batch may fit."""
