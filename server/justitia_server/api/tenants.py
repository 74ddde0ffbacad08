"""Who is billed: one tenant an API key, named so that the key cannot be read off the name."""

from __future__ import annotations

import hashlib

from ..fairness.accounts import DEFAULT_TENANT


def tenant_of_key(key: str) -> str:
    """Return the tenant of an API key."""
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def tenant_of_header(authorization: bytes | None) -> str:
    """
    Return the tenant of an `Authorization` header that the server has checked or will check.

    However the scheme is spelt, it is the same tenant: nobody becomes two by writing `BEARER`.
    """
    if authorization is None:
        return DEFAULT_TENANT
    _, _, key = authorization.decode("latin-1").partition(" ")
    return tenant_of_key(key)
