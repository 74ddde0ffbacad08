"""
Every error Justitia raises, in one tree.

    JustitiaError
    ├─ ConfigurationError (also ValueError)   raised while building, never later
    ├─ UsageError (also RuntimeError)         the caller's code is wrong
    │   ├─ NoActiveApplication
    │   └─ ApplicationClosed
    ├─ ServerError                            carries app_id, status, retry_after_s
    │   ├─ ServerUnavailable
    │   ├─ AdmissionRejected
    │   └─ ProtocolMismatch
    ├─ HintError (also ValueError)            a hints header that cannot be read
    │   ├─ MalformedHints
    │   ├─ OversizedHints
    │   └─ UnknownHintsVersion
    └─ InternalError                          broken invariant: please report
        ├─ ClockError
        └─ AccountingError

Hinting itself never raises into a user's call: only wrong use of our own API does.
"""

from __future__ import annotations


class JustitiaError(Exception):
    """Base of every error Justitia raises."""


class ConfigurationError(JustitiaError, ValueError):
    """A setting has no meaning; the message names the setting and the fix."""


class UsageError(JustitiaError, RuntimeError):
    """The caller's code uses Justitia wrongly."""


class NoActiveApplication(UsageError):
    """An application scope is needed and none is open."""


class ApplicationClosed(UsageError):
    """The application has already finished."""


class ServerError(JustitiaError):
    """The Justitia server answered with an error, or not at all."""

    def __init__(
        self,
        message: str,
        *,
        app_id: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.app_id = app_id
        self.status = status
        self.retry_after_s = retry_after_s


class ServerUnavailable(ServerError):
    """The server cannot be reached."""


class AdmissionRejected(ServerError):
    """The server refused to take the application on."""


class ProtocolMismatch(ServerError):
    """Client and server speak different versions of the hints."""


class HintError(JustitiaError, ValueError):
    """A hints header cannot be read; the call is served without hints."""

    kind = "malformed"


class MalformedHints(HintError):
    """The header is not the JSON object the protocol describes."""

    kind = "malformed"


class OversizedHints(HintError):
    """The header is longer than the protocol allows."""

    kind = "oversized"


class UnknownHintsVersion(HintError):
    """The header speaks a version this side does not know."""

    kind = "unknown_version"


class InternalError(JustitiaError):
    """A broken invariant inside Justitia: please report it."""


class ClockError(InternalError):
    """Time or virtual time ran backwards, or a clock was used out of turn."""


class AccountingError(InternalError):
    """Service, weight or cost that makes no sense, or an unknown or doubly finished customer."""
