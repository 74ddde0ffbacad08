"""`errors`: one tree, and what its branches carry."""

from typing import assert_type

from justitia_sdk import errors

try:
    ...
except errors.ServerError as exc:
    assert_type(exc.app_id, str | None)
    assert_type(exc.status, int | None)
    assert_type(exc.retry_after_s, float | None)

everything: list[type[errors.JustitiaError]] = [
    errors.ConfigurationError,
    errors.UsageError,
    errors.NoActiveApplication,
    errors.ApplicationClosed,
    errors.ServerError,
    errors.ServerUnavailable,
    errors.AdmissionRejected,
    errors.ProtocolMismatch,
    errors.HintError,
    errors.MalformedHints,
    errors.OversizedHints,
    errors.UnknownHintsVersion,
    errors.InternalError,
    errors.ClockError,
    errors.AccountingError,
]
values: list[type[ValueError]] = [errors.ConfigurationError, errors.HintError]
runtime: list[type[RuntimeError]] = [errors.UsageError, errors.NoActiveApplication]

wrong: type[ValueError] = errors.UsageError  # type: ignore[assignment]
