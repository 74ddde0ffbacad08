"""The reference in cases small enough to be solved by hand; the arithmetic stands beside them."""

import math

from justitia_server.fairness.reference import Reference
from justitia_server.fairness.virtual_clock import VirtualClock


def arrive(reference, app_id, tenant_name, cost, *, weight=1):
    """Let an application arrive and return its tag."""
    reference.arrive(app_id, tenant_name, cost, weight=weight)
    tenant = reference.tenant(tenant_name)
    start = tenant.clock.virtual_time
    return tenant.open_tag(cost, weight, virtual_start=start, seq=len(reference._tenant_of))


# -- A, A, B -----------------------------------------------------------------------------


def test_a_a_b_as_flows_is_served_a_b_a():
    """
    Two flows of weight 1, packets A, A, B of one unit at t = 0: fair queuing serves A, B, A.

    A flow is an application, a packet a call. A costs 2; its first call has a tag of its own.
        A1: F = 0 + 1 = 1    A2: F = 0 + 2 = 2    B1: F = 0 + 1 = 1    by (F, arrival): A1, B1, A2
    """
    reference = Reference()
    rest_of_a = arrive(reference, "A", "tenant", 2)
    first_of_a = rest_of_a.tenant.open_tag(1, 1, virtual_start=0, seq=rest_of_a.seq)
    b = arrive(reference, "B", "tenant", 1)
    by_finish = sorted([rest_of_a, b, first_of_a], key=lambda tag: (tag.virtual_finish, tag.seq))
    assert by_finish == [first_of_a, b, rest_of_a]


def test_a_a_b_as_applications_of_two_tenants_leaves_b_first():
    """
    Applications a1, a2 of tenant A and b1 of tenant B, one unit each, all weights 1.

    A's half is halved again: a1 and a2 are given 1/4 of the service each, b1 1/2.
        service 2: V_0 = 2/2 = 1, V_A = 1/2, V_B = 1: b1 leaves
        service 3: V_0 = 1 + 1/1 = 2, V_A = 1/2 + 1/2 = 1: a1 and a2 leave
    So Phi is 2, 2 and 1. A tenant gains nothing by splitting its work in two.
    """
    reference = Reference()
    a1, a2 = (arrive(reference, name, "A", 1) for name in ("a1", "a2"))
    b1 = arrive(reference, "b1", "B", 1)
    assert [a1.virtual_finish, a2.virtual_finish, b1.virtual_finish] == [1, 1, 1]
    assert [a1.top_finish, a2.top_finish, b1.top_finish] == [2, 2, 1]
    assert reference.advance(1.75) == []
    assert reference.advance(0.25) == ["b1"]
    assert (reference.virtual_time, reference.tenant("A").clock.virtual_time) == (1, 0.5)
    assert reference.advance(0.75) == []
    assert reference.advance(0.25) == ["a1", "a2"]
    assert (reference.virtual_time, reference.tenant("A").clock.virtual_time) == (2, 1)


# -- weights -----------------------------------------------------------------------------


def test_weights_share_in_proportion():
    """
    Weight 3 against 1, cost 30 and 30: 3/4 and 1/4 of the service.

    The heavy one is done after 30 / (3/4) = 40; V = 40/4 = 10. The light one has had 10 and
    needs 20 more, alone: done at 60, V = 10 + 20/1 = 30.
    """
    clock = VirtualClock()
    assert clock.arrive("heavy", 30, weight=3) == 10
    assert clock.arrive("light", 30, weight=1) == 30
    assert clock.advance(39.5) == []
    assert clock.advance(0.5) == ["heavy"]
    assert clock.virtual_time == 10
    assert clock.advance(19.5) == []
    assert clock.advance(0.5) == ["light"]
    assert clock.virtual_time == 30


def test_two_tenants_with_weights_to_the_token():
    """
    Tenant gold, W = 3: g1 of cost 60 and weight 1, g2 of cost 60 and weight 2.
    Tenant free, W = 1: f1 of cost 20 and weight 1. All at V = 0.

                 F             R(F)                      Phi = R(F) / W
        g1    60/1 = 60    60*1 + 30*2 = 120              120/3 = 40
        g2    60/2 = 30    30*1 + 30*2 =  90               90/3 = 30
        f1    20/1 = 20    20*1        =  20               20/1 = 20

        service  80: V_0 = 80/4 = 20; gold had 60, V_gold = 60/3 = 20; free 20, V_free = 20: f1
        service 110: gold alone, V_0 = 20 + 30/3 = 30, V_gold = 20 + 30/3 = 30: g2
        service 140: V_0 = 30 + 30/3 = 40, V_gold = 30 + 30/1 = 60: g1

    Each leaves when V_0 is its Phi, and 140 is the sum of the costs.
    """
    reference = Reference({"gold": 3})
    g1 = arrive(reference, "g1", "gold", 60)
    g2 = arrive(reference, "g2", "gold", 60, weight=2)
    f1 = arrive(reference, "f1", "free", 20)
    tags = [g1, g2, f1]
    assert [tag.virtual_finish for tag in tags] == [60, 30, 20]
    assert [tag.top_finish for tag in tags] == [40, 30, 20]
    assert [reference.service_until_fair_finish(name) for name in ("g1", "g2", "f1")] == [
        140, 110, 80,
    ]  # fmt: skip
    gold = reference.tenant("gold")
    for service, left, top_virtual_time, gold_virtual_time in [
        (79, [], 19.75, 19.75),
        (1, ["f1"], 20, 20),
        (30, ["g2"], 30, 30),
        (30, ["g1"], 40, 60),
    ]:
        assert reference.advance(service) == left
        assert reference.virtual_time == top_virtual_time
        assert reference.tenant("gold") is gold
        assert gold.clock.virtual_time == gold_virtual_time
        assert [tag.top_finish for tag in tags] == [40, 30, 20]


def test_an_arrival_lowers_the_others_of_its_tenant_only():
    """
    Two tenants of weight 1: t has a (cost 10), u has x (cost 25).

    At 0: Phi of a is 10, of x 25. After service 8 V_0 = V_t = 4; b (cost 20) arrives in t: F = 24.
        a: R(10) = (10-4) * 2         = 12, Phi = 4 + 12 = 16
        b: R(24) = (10-4) + (24-4)    = 26, Phi = 4 + 26 = 30
    """
    reference = Reference()
    a, x = arrive(reference, "a", "t", 10), arrive(reference, "x", "u", 25)
    assert [a.top_finish, x.top_finish] == [10, 25]
    reference.advance(8)
    b = arrive(reference, "b", "t", 20)
    assert [a.top_finish, b.top_finish, x.top_finish] == [16, 30, 25]


# -- the paper ---------------------------------------------------------------------------


def test_the_worked_virtual_time_of_the_paper():
    """Capacity 100, two backlogged for 10 steps, then one: V = 10*100/2 + 10*100/1 = 1500."""
    clock = VirtualClock()
    clock.arrive("a", 500)
    clock.arrive("b", 5000)
    left = [clock.advance(100) for _ in range(20)]
    assert left[9] == ["a"]
    assert clock.virtual_time == 1500


def test_figure_7_of_the_paper():
    """
    Reference finishes 5, 13.5 and 12.5 of applications 1, 2 and 3: order 1, 3, 2.

    Our notes give the finishes, and that 3 comes after 2 has begun; the costs are chosen to yield
    them at one unit of service a unit of time.
        t =  0    1 (cost 2.5) and 2 (cost 7.75) arrive: F = 2.5 and 7.75
        t =  5    each was given 2.5, V = 2.5: 1 leaves
        t =  6    2 alone, V = 3.5; 3 (cost 3.25) arrives: F = 6.75, before that of 2
        t = 12.5  each was given 3.25 more, V = 6.75: 3 leaves
        t = 13.5  2 alone for the last of 2.5 + 1 + 3.25 + 1 = 7.75, V = 7.75: 2 leaves
    So the server takes the calls of 1, then of 2 while 3 is not there, then of 3, then of 2 again.
    """
    clock = VirtualClock()
    finishes = {"1": clock.arrive("1", 2.5), "2": clock.arrive("2", 7.75)}
    assert sorted(finishes, key=finishes.get) == ["1", "2"]
    assert clock.advance(4.75) == []
    assert clock.advance(0.25) == ["1"]  # at 5
    clock.advance(1)
    finishes["3"] = clock.arrive("3", 3.25)
    assert sorted(finishes, key=finishes.get) == ["1", "3", "2"]
    assert finishes == {"1": 2.5, "2": 7.75, "3": 6.75}
    assert clock.advance(6.25) == []
    assert clock.advance(0.25) == ["3"]  # at 12.5
    assert clock.advance(0.75) == []
    assert clock.advance(0.25) == ["2"]  # at 13.5


# -- idle applications -------------------------------------------------------------------


def test_a_pause_neither_earns_nor_costs():
    """
    a (cost 100) and b (cost 1000), weight 1. a has really received 50 when it goes to a tool.

        service  60: 30 each, V = 30; a pauses and is owed 20 more
        service 100: 50 each, V = 50: a has what it received, and leaves
        service 300: b alone, V = 250; a comes back: S = 250 - 50 = 200, moved by 200; F = 300
        service 400: 50 each, V = 300: a leaves, given 100
    """
    clock = VirtualClock()
    assert clock.arrive("a", 100) == 100
    clock.arrive("b", 1000)
    clock.advance(60)
    assert clock.pause("a", 50) is True
    assert clock.virtual_finish("a") == 50
    assert clock.advance(39) == []
    assert clock.advance(1) == ["a"]
    assert clock.advance(200) == []
    assert clock.virtual_time == 250
    assert clock.resume("a") == 200
    assert clock.virtual_finish("a") == 300
    assert clock.advance(99) == []
    assert clock.advance(1) == ["a"]


def test_a_pause_of_one_that_was_given_more_keeps_the_difference():
    """
    a (cost 100) was given 30 by the reference and has received 10: it leaves at once.

    Back when V has grown from 30 to 130, it has 70 coming: S = 130 - 30, F = 130 + 70 = 200.
    """
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.arrive("b", 1000)
    clock.advance(60)
    assert clock.pause("a", 10) is False
    clock.advance(100)
    assert clock.resume("a") == 100
    assert clock.virtual_finish("a") == 200


def test_a_pause_within_which_nothing_is_missed_moves_nothing():
    """Back before the reference has given what it received: F is as before, S has not moved."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.advance(30)
    clock.pause("a", 50)
    clock.advance(10)
    assert clock.resume("a") == 0
    assert clock.virtual_finish("a") == 100


# -- late tags and debt ------------------------------------------------------------------


def test_a_late_application_keeps_its_top_tag():
    """
    t has a (cost 10) and c (cost 50), u has x (cost 100); tenants and applications of weight 1.

    At 0: Phi of a is R(10) = 20, of c R(50) = 10 + 50 = 60.
        service 40: V_0 = 20, V_t = 10: a leaves the reference; still unfinished, it is late
        d (cost 100) arrives in t: Phi of c is 20 + (50-10)*2 = 100; a keeps 20
        service 60: V_0 = 30, V_t = 15: a keeps 20, c 100
    """
    reference = Reference()
    a, c = arrive(reference, "a", "t", 10), arrive(reference, "c", "t", 50)
    arrive(reference, "x", "u", 100)
    assert [a.top_finish, c.top_finish] == [20, 60]
    assert reference.advance(40) == ["a"]
    arrive(reference, "d", "t", 100)
    assert [a.top_finish, c.top_finish] == [20, 100]
    reference.advance(20)
    assert (reference.virtual_time, reference.tenant("t").clock.virtual_time) == (30, 15)
    assert [a.top_finish, c.top_finish] == [20, 100]


def test_a_late_tag_moved_down_keeps_its_date_too():
    """Found to be cheaper when it is late already, it goes no further back."""
    reference = Reference()
    a = arrive(reference, "a", "t", 10)
    arrive(reference, "b", "t", 100)
    assert reference.advance(40) == ["a"]
    assert a.top_finish == 20
    reference.tenant("t").move_tag(a, cost=5)
    assert a.top_finish == 20


def test_a_tag_moved_past_the_virtual_time_waits_again():
    """V_t = 20 of two backlogged: F = 10 is dated 20, F = 30 will be reached at 40 + (30-20)*1."""
    reference = Reference()
    a = arrive(reference, "a", "t", 10)
    arrive(reference, "b", "t", 100)
    reference.advance(30)
    assert reference.tenant("t").clock.virtual_time == 20
    assert a.top_finish == 20
    reference.tenant("t").move_tag(a, cost=30)
    assert a.top_finish == 40


def test_a_scout_may_share_finish_and_number_with_its_application():
    """One call is all there is: two tags, the same F, and both are dated when V reaches it."""
    reference = Reference()
    tag = arrive(reference, "a", "t", 10)
    scout = tag.tenant.open_tag(10, 1, virtual_start=0, seq=tag.seq)
    arrive(reference, "b", "t", 100)
    reference.advance(60)
    assert [tag.top_finish, scout.top_finish] == [20, 20]


def test_a_debt_is_worked_off_by_the_tenants_share():
    """
    t (W = 2) has served 20 that no tag had announced: 20/2 = 10 on the top clock.

    V_0 grows by service/2: after 8 it is 4, and 6 of the debt are left to the next tag; less 2 when
    another was announced too large by 4; after 24 none. A debt made then begins then.
    """
    reference = Reference({"t": 2})
    reference.arrive("a", "t", 1000)
    tenant = reference.tenant("t")

    def debt_of_a_new_tag():
        return tenant.open_tag(1, 1, virtual_start=0, seq=2).debt

    assert debt_of_a_new_tag() == 0
    tenant.add_debt(20)
    assert debt_of_a_new_tag() == 10
    reference.advance(8)
    assert debt_of_a_new_tag() == 6
    tenant.add_debt(-4)
    assert debt_of_a_new_tag() == 4
    reference.advance(16)
    assert debt_of_a_new_tag() == 0
    tenant.add_debt(6)
    assert debt_of_a_new_tag() == 3


def test_a_tag_opened_in_debt_stays_behind_by_it():
    """
    a (cost 30) is alone in t and with x in the server; t owes 5 when its tag is opened.

    Phi = 30/1 + 5, when it is opened, after the debt is worked off, and when it is late.
    """
    reference = Reference()
    reference.tenant("t").add_debt(5)
    a = arrive(reference, "a", "t", 30)
    arrive(reference, "x", "u", 100)
    assert a.top_finish == 35
    reference.advance(20)
    assert a.top_finish == 35
    assert reference.advance(40) == ["a"]
    assert a.top_finish == 35


# -- corrections -------------------------------------------------------------------------


def test_correction_downwards_moves_the_finish_nearer():
    """a of cost 100 is found to cost 80 when it was given 60: it leaves 20 later, at V = 80."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.arrive("b", 100)
    clock.advance(120)
    assert clock.correct("a", 80) is True
    assert clock.advance(39) == []
    assert clock.advance(1) == ["a"]
    assert clock.virtual_time == 80


def test_correction_downwards_past_virtual_time_leaves_at_once():
    """
    a was given 60 and is found to cost 50: it leaves, and the 10 too many are not given back.

    b, with 40 to come, is alone from then on: it leaves after 40, when 160 have been fed for
    150 of costs.
    """
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.arrive("b", 100)
    clock.advance(120)
    assert clock.correct("a", 50) is False
    assert clock.advance(39) == []
    assert clock.advance(1) == ["b"]
    assert clock.virtual_time == 100


def test_correction_upwards_while_backlogged_keeps_the_start():
    """a arrives at V = 100 with C / w = 50/2; corrected to 80, it leaves at V = 100 + 80/2."""
    clock = VirtualClock()
    clock.arrive("other", 2000, weight=2)
    clock.advance(200)
    assert clock.arrive("a", 50, weight=2) == 125
    clock.advance(40)  # V = 100 + 40/4
    assert clock.correct("a", 80) is True
    assert clock.virtual_finish("a") == 140
    assert clock.advance(116) == []  # V = 110 + 116/4
    assert clock.advance(4) == ["a"]
    assert clock.virtual_time == 140


def test_correction_upwards_after_leaving_comes_back_for_the_difference():
    """
    a (cost 10) leaves with V = 10; b goes on alone to V = 40; then a is found to cost 25.

    It has 15 coming, from now on: F = 40 + 15 = 55, after 30 for the two of them.
    """
    clock = VirtualClock()
    clock.arrive("a", 10)
    clock.arrive("b", 1000)
    assert clock.advance(20) == ["a"]
    clock.advance(30)
    assert clock.correct("a", 25) is True
    assert clock.virtual_finish("a") == 55
    assert clock.advance(29) == []
    assert clock.advance(1) == ["a"]


def test_correction_of_an_excess_upwards_first_makes_it_up():
    """Given 60, corrected to 50 and then to 70: 10 are missing, not 20."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.advance(60)
    clock.correct("a", 50)
    assert clock.correct("a", 70) is True
    assert clock.service_until_departure() == 10


def test_a_paused_application_is_corrected_for_when_it_returns():
    """Paused at 20 of 100, corrected to 50: it still leaves at 20, and has 30 coming on return."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.pause("a", 20)
    assert clock.correct("a", 50) is True
    assert clock.advance(100) == ["a"]
    assert clock.virtual_time == 20
    clock.resume("a")
    assert clock.service_until_departure() == 30


def test_settling_ends_a_pause():
    """Paused at 20 of 100 and ended with 35 used: the 15 missing are given without a return."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.pause("a", 20)
    assert clock.advance(20) == ["a"]
    assert clock.settle("a", 35) is True
    assert clock.service_until_departure() == 15
    assert clock.advance(15) == ["a"]
    assert clock.service_until_departure() == math.inf


def test_a_late_tag_moved_down_is_dated_no_later_than_the_next():
    """
    Cheaper is never later.

    t: y (10) and x (1000); u: one that stays. V_t = 10 at V_0 = 20, where y is dated. At V_0 = 200
    x turns out to cost 5: V_t passed 5 at V_0 = 10, but that is not remembered; y's 20 is.
    """
    reference = Reference()
    y = arrive(reference, "y", "t", 10)
    x = arrive(reference, "x", "t", 1000)
    arrive(reference, "rest", "u", 1_000_000)
    reference.advance(400)
    assert (reference.virtual_time, y.top_finish) == (200, 20)
    reference.correct("x", 5)
    reference.tenant("t").move_tag(x, cost=5)
    assert x.top_finish == 20
