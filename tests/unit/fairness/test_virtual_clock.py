"""The virtual clock and the reference: what they refuse, and what they do not keep."""

import math

import pytest

from justitia_sdk.errors import AccountingError
from justitia_server.fairness.reference import Reference
from justitia_server.fairness.virtual_clock import VirtualClock

NAN, INFINITE = float("nan"), math.inf


def make_reference():
    """Return a reference whose `arrive` is called as a clock's is."""
    reference = Reference()
    arrive = reference.arrive
    reference.arrive = lambda app_id, cost, **weight: arrive(app_id, "tenant", cost, **weight)
    return reference


@pytest.fixture(params=[VirtualClock, make_reference], ids=["clock", "reference"])
def reference(request):
    """One level and two refuse the same; "known" costs 10 and has been given 4."""
    made = request.param()
    made.arrive("known", 10)
    made.advance(4)
    return made


# -- refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [0, -1, NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("event", ["arrive", "correct", "settle"])
def test_nonsense_costs_are_refused(reference, event, cost):
    """The error names the field, and nothing changes."""
    app_id = "new" if event == "arrive" else "known"
    with pytest.raises(AccountingError, match=r"^cost must be finite and above 0"):
        getattr(reference, event)(app_id, cost)
    assert "new" not in reference
    assert len(reference) == 1
    assert reference.service_until_departure() == 6


@pytest.mark.parametrize("weight", [0, -1, NAN, INFINITE, -INFINITE])
def test_nonsense_weights_are_refused(reference, weight):
    """The error names the field, and nobody arrives."""
    with pytest.raises(AccountingError, match=r"^weight must be finite and above 0"):
        reference.arrive("new", 1, weight=weight)
    assert "new" not in reference


@pytest.mark.parametrize("weight", [0, -1, NAN, INFINITE, -INFINITE])
def test_nonsense_tenant_weights_are_refused(weight):
    """The error names the tenant."""
    with pytest.raises(AccountingError, match=r"^weight of tenant t must be finite and above 0"):
        Reference({"t": weight})


@pytest.mark.parametrize("service", [-1, NAN, INFINITE, -INFINITE])
def test_nonsense_service_is_refused(reference, service):
    """Fed or received, and nothing changes."""
    with pytest.raises(AccountingError, match=r"^service must be finite and not negative"):
        reference.advance(service)
    with pytest.raises(AccountingError, match=r"^service must be finite and not negative"):
        reference.pause("known", service)
    assert reference.virtual_time == 4
    assert reference.service_until_departure() == 6


def test_an_application_arrives_once(reference):
    """A second arrival is refused, also after it has left."""
    with pytest.raises(AccountingError, match="application known has arrived before"):
        reference.arrive("known", 5)
    reference.advance(6)
    with pytest.raises(AccountingError, match="application known has arrived before"):
        reference.arrive("known", 5)


def test_a_forgotten_application_may_arrive_again(reference):
    """Forgetting takes the id back."""
    reference.forget("known")
    assert "known" not in reference
    reference.arrive("known", 5)
    assert reference.advance(5) == ["known"]


@pytest.mark.parametrize(
    ("event", "amounts"),
    [
        ("is_backlogged", []),
        ("correct", [1]),
        ("settle", [1]),
        ("pause", [1]),
        ("resume", []),
        ("forget", []),
    ],
)
def test_an_unknown_application_is_refused(reference, event, amounts):
    """Only those that have arrived are changed or asked for."""
    with pytest.raises(AccountingError, match="application stranger is not in the reference"):
        getattr(reference, event)("stranger", *amounts)


def test_the_finish_of_an_unknown_application_is_refused():
    """A clock tells F, a reference the fair finish."""
    with pytest.raises(AccountingError, match="application stranger is not in the reference"):
        VirtualClock().virtual_finish("stranger")
    with pytest.raises(AccountingError, match="application stranger is not in the reference"):
        Reference().service_until_fair_finish("stranger")


# -- empty -------------------------------------------------------------------------------


def test_an_empty_reference_stands_still(reference):
    """Service with nobody backlogged is nobody's, and the next arrival starts at V."""
    assert reference.advance(1000) == ["known"]
    assert reference.virtual_time == 10
    assert reference.service_until_departure() == INFINITE
    assert reference.arrive("new", 5) == 15


def test_those_that_leave_together_are_told_by_arrival(reference):
    """Ids have no say."""
    for app_id in ("z", "a", "m"):
        reference.arrive(app_id, 6)
    assert reference.advance(24) == ["known", "z", "a", "m"]


# -- memory ------------------------------------------------------------------------------


def test_superseded_departures_do_not_pile_up():
    """Ten thousand revisions leave a short heap, and the tags moved with them another."""
    reference = Reference()
    reference.arrive("a", "tenant", 1)
    tenant = reference.tenant("tenant")
    tag = tenant.open_tag(1, 1, virtual_start=0, seq=1)
    for cost in range(1, 10_000):
        reference.correct("a", cost)
        tenant.move_tag(tag, cost=cost)
    assert len(reference._departures) < 200
    assert len(tenant._ahead) < 200


def test_closed_tags_do_not_pile_up():
    """Ten thousand scouts whose F is never reached leave a short heap."""
    reference = Reference()
    reference.arrive("a", "tenant", 1)
    tenant = reference.tenant("tenant")
    for number in range(10_000):
        tenant.close_tag(tenant.open_tag(100, 1, virtual_start=0, seq=number))
    assert tenant.num_tags == 0
    assert len(tenant._ahead) < 200


def test_tenants_of_whom_nothing_is_left_do_not_pile_up():
    """Ten thousand tenants of one application each, half of them in debt for a while."""
    reference = Reference()
    for number in range(10_000):
        reference.arrive("a", f"tenant {number}", 1)
        reference.advance(1)
        reference.tenant(f"tenant {number}").add_debt(number % 2)
        reference.forget("a")
    assert len(reference._tenants) < 200
    assert len(reference._departures) < 200


def test_a_tenant_with_a_tag_or_a_debt_is_remembered():
    """What it owes, and what still orders its calls, outlives its applications."""
    reference = Reference()
    reference.arrive("other", "other", 100)
    for name in ("with tag", "with debt"):
        reference.arrive(name, name, 1)
    reference.tenant("with tag").open_tag(1, 1, virtual_start=0, seq=1)
    reference.tenant("with debt").add_debt(10)
    for name in ("with tag", "with debt"):
        reference.forget(name)
    assert set(reference._tenants) == {"other", "with tag", "with debt"}
