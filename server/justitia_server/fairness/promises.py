"""
What the order was told of an application, and what its tenant owes for having told too little.

- An application's tag is formed at its first call: F = V + C / w. A prediction revised later moves
  it, from the same S.
- One that has used GUARD_FACTOR times what its tag was formed with is tagged by what it has used.
- What it used beyond its tag is its tenant's debt, even where the tag was moved up afterwards; what
  it used less, once it has ended, pays debt back (up to what it used). Debt is booked as it arises:
  when the application has used DEBT_FACTOR times its tag and each time it has used so many times
  more, when it has been idle for longer than the grace period, and at its end. If the end alone
  counted, one that never ends would owe nothing, and of twenty that come together none would pay
  for another.
- Debt acts among tenants (`tenants`). Within one nobody pays for somebody else's prediction.

The reference follows what is used, too, so that the tenant's share there works the difference off
again: it can count twice. Telling too little must not pay.
"""

from __future__ import annotations

from .accounts import Account, Call
from .reference import Reference

GUARD_FACTOR = 5.0
DEBT_FACTOR = 1.25  # of its tag; below it noise is left to even out by the end


def open_tag(account: Account, reference: Reference) -> None:
    """Form the tag of *account*, which arrives now."""
    facts = account.facts
    tenant = reference.tenant(facts.tenant)
    account.tag = tenant.open_tag(
        account.predicted_cost,
        facts.weight,
        virtual_start=tenant.clock.virtual_time,
        seq=account.arrival_seq,
    )
    _note_next(account)


def open_scout_tag(call: Call, reference: Reference) -> None:
    """Form a tag for *call* alone, by its own cost."""
    account = call.account
    tenant = reference.tenant(account.facts.tenant)
    call.tag = tenant.open_tag(
        call.predicted_cost,
        account.facts.weight,
        virtual_start=tenant.clock.virtual_time,
        seq=account.arrival_seq,
    )


def move_tag(account: Account, cost: float, *, virtual_start: float | None = None) -> None:
    """Form F anew with *cost*, and with another S where one is given."""
    tag = account.tag
    assert tag is not None
    # What was used before the tag is moved up to cover it is owed all the same.
    account.untold_service += max(min(account.attained_service, cost) - tag.cost, 0)
    tag.tenant.move_tag(tag, cost=cost, virtual_start=virtual_start)
    _note_next(account)


def look_at(account: Account) -> None:
    """Take notice that *account* has used more than `notice_at`: book debt, guard the order."""
    assert account.tag is not None
    book_debt(account)
    if account.attained_service > GUARD_FACTOR * account.tag.cost:
        move_tag(account, account.attained_service)
    else:
        _note_next(account)


def book_debt(account: Account) -> None:
    """Let the tenant owe what *account* has used beyond its tag by now."""
    tag = account.tag
    assert tag is not None
    owed = account.untold_service + max(account.attained_service - tag.cost, 0)
    if owed > account.booked_debt:
        tag.tenant.add_debt(owed - account.booked_debt)
        account.booked_debt = owed


def close_tag(account: Account) -> None:
    """Settle with the tenant what *account*, which has ended, was told of too little or much."""
    tag, used = account.tag, account.attained_service
    assert tag is not None
    tag.tenant.close_tag(tag)
    owed = max(account.untold_service + used - tag.cost, -used)
    tag.tenant.add_debt(owed - account.booked_debt)


def _note_next(account: Account) -> None:
    """Set at which attained service *account* is to be looked at again."""
    assert account.tag is not None
    cost = account.tag.cost
    at = max(DEBT_FACTOR * cost, DEBT_FACTOR * account.attained_service)
    account.notice_at = min(at, GUARD_FACTOR * cost)
