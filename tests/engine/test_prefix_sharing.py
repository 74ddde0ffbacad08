"""Blocks that calls share are charged once, on vLLM's own KV manager and against its counts."""

import random
from dataclasses import dataclass, field

import pytest

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.request_queue import call_of
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost

pytestmark = pytest.mark.engine

BLOCK_SIZE = 16
both_ways = pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])


@dataclass
class Held:
    """What calls held when a step was computed, by vLLM's own reference counts."""

    physical_tokens: int
    tokens: dict[str, int] = field(default_factory=dict)  # p + i with the step's output, by call
    shared_tokens: dict[str, float] = field(default_factory=dict)


class Bench:
    """An engine that shares prefixes, with every step's charge beside what was held."""

    def __init__(self, num_blocks, *, overlap=False, plain=False, max_num_batched_tokens=100_000):
        options = OfflineOptions(
            num_blocks, block_size=BLOCK_SIZE, max_model_len=4096, prefix_caching=True,
            overlap=overlap, max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=min(256, max_num_batched_tokens),
        )  # fmt: skip
        settings = Settings(prefix_cost="plain" if plain else "shared")
        self.engine = OfflineEngine(options, settings)
        self.scheduler = self.engine.scheduler
        self.ledger = self.scheduler.ledger
        self.sharing = self.scheduler.sharing
        self.held = []  # by step that computed something
        self.steps = []
        self.charges = []  # by step, too
        self._charged = 0.0
        self.ledger.policy.reads_service = True  # so that every step is read
        self._after_schedule = self.scheduler._update_after_schedule
        self.scheduler._update_after_schedule = self._note_schedule

    def add(self, name, prompt, num_output_tokens, *, app=None):
        facts = pack(ApplicationFacts(app or name, predicted_cost=1e5), CallFacts())
        self.engine.add(
            name, prompt=prompt, num_output_tokens=num_output_tokens,
            extra_args={EXTRA_ARGS_KEY: facts},
        )  # fmt: skip

    def step(self):
        step = self.engine.step()
        if step is not None:
            ledger = self.ledger
            accounts = [*ledger.in_flight.values(), *ledger.finished.values()]
            charged = sum(account.attained_service for account in accounts)
            self.charges.append(charged - self._charged)
            self.steps.append(step)
            self._charged = charged

    def run(self):
        while self.engine.has_work:
            self.step()
            assert len(self.steps) < 20_000
        return self

    def _note_schedule(self, output):
        self._after_schedule(output)
        if output.total_num_scheduled_tokens:
            self.held.append(self._measure(output))

    def _measure(self, output):
        """Count what is held from vLLM's blocks alone, and hold our figures against it."""
        blocks_of, distinct, held = {}, set(), Held(0)
        for request in self.scheduler.running:
            name = request.request_id
            placeholders = request.num_output_placeholders if self.engine.options.overlap else 1
            tokens = held.tokens[name] = request.num_tokens + placeholders
            blocks = self.scheduler.kv_cache_manager.get_blocks(name).blocks[0]
            blocks_of[name] = blocks[: tokens // BLOCK_SIZE]
            distinct.update(block.block_id for block in blocks_of[name])
            held.physical_tokens += tokens % BLOCK_SIZE
        held.physical_tokens += BLOCK_SIZE * len(distinct)
        for name, blocks in blocks_of.items():
            held.shared_tokens[name] = sum(BLOCK_SIZE * (1 - 1 / each.ref_cnt) for each in blocks)
            if self.sharing is not None:
                ours = self.sharing.blocks.shared_tokens(call_of(self.scheduler.requests[name]))
                assert ours == pytest.approx(held.shared_tokens[name])
        return held

    def check_charges(self):
        """Every step charged the calls it gave a token what they held, each block split."""
        assert not self.scheduler.errors
        for step, held, charge in zip(self.steps, self.held, self.charges, strict=True):
            expected = sum(held.tokens[each] - held.shared_tokens[each] for each in step.delivered)
            assert charge == pytest.approx(expected, abs=1e-6)
        return self

    def check_split(self):
        """What all calls held, less what they shared, was the tokens held, each counted once."""
        for held in self.held:
            total = sum(held.tokens.values()) - sum(held.shared_tokens.values())
            assert total == pytest.approx(held.physical_tokens)
        return self

    def check_physical(self):
        """Every step charged the KV tokens held while it was computed, each counted once."""
        self.check_charges().check_split()
        assert self.charges == pytest.approx([held.physical_tokens for held in self.held])

    def check_nothing_kept(self):
        sharing = self.sharing
        assert not self.scheduler.running
        assert self.engine.kv_usage_ratio == 0
        assert len(sharing.blocks) == 0
        assert not sharing.blocks._segments_of
        assert not sharing.blocks._let_go
        assert not sharing.blocks._changed_segments
        assert not any(call.is_open for _, changes in sharing.due for call in changes)
        assert len(sharing.due) <= 1


def prompt(*parts):
    """Join (seed, length) parts to a prompt; the same parts give the same tokens."""
    tokens = []
    for seed, length in parts:
        draw = random.Random(seed)
        tokens += [draw.randrange(100) for _ in range(length)]
    return tokens


def random_calls(seed, number):
    """Calls with prompts of a common, a group's and an own part, and their output lengths."""
    draw = random.Random(seed)
    calls = []
    for index in range(number):
        group = draw.randrange(4)
        parts = [("system", 70), (group, draw.choice([0, 40, 90])), (f"{seed}-{index}", 13)]
        calls.append((f"r{index}", prompt(*parts[: draw.randint(1, 3)]), draw.randint(1, 60)))
    return calls


def test_samples_of_one_prompt_are_charged_what_they_hold():
    """A hundred samples of 512 tokens: charges are the tokens held, the formula's ten times."""
    question = prompt(("question", 512))
    benches = [Bench(4000), Bench(4000, plain=True)]
    for bench in benches:
        for sample in range(100):
            bench.add(f"s{sample}", question, 64, app="a")
        bench.run()
    shared, plain = benches
    shared.check_physical()
    physical = sum(held.physical_tokens for held in shared.held)
    assert sum(shared.charges) == pytest.approx(physical)
    assert sum(plain.charges) == 100 * call_cost(512, 64)
    assert sum(plain.charges) / physical == pytest.approx(10, abs=1)
    shared.check_nothing_kept()


@pytest.mark.parametrize("seed", range(3))
def test_every_step_charges_the_tokens_held(seed):
    """Calls coming and going over time, of all kinds of common prefixes."""
    bench, draw = Bench(3000), random.Random(seed)
    for name, tokens, num_output_tokens in random_calls(seed, 60):
        bench.add(name, tokens, num_output_tokens)
        for _ in range(draw.choice([0, 0, 1, 3])):
            bench.step()
    bench.run().check_physical()
    bench.check_nothing_kept()


@both_ways
@pytest.mark.parametrize("seed", range(3))
def test_preemption_moves_shares_and_resumption_moves_them_back(seed, overlap):
    """With memory so scarce that calls are preempted and resumed, their own prefixes cached."""
    bench = Bench(40, overlap=overlap)
    for name, tokens, num_output_tokens in random_calls(seed, 30):
        bench.add(name, tokens, num_output_tokens)
    bench.run().check_charges().check_split()
    assert sum(step.num_preempted for step in bench.steps) > 5
    bench.check_nothing_kept()


@both_ways
def test_resetting_the_prefix_cache_begins_anew(overlap):
    """All running calls are preempted at once, and their output in flight is dropped."""
    bench = Bench(3000, overlap=overlap)
    for name, tokens, num_output_tokens in random_calls(1, 30):
        bench.add(name, tokens, num_output_tokens)
    for _ in range(10):
        bench.step()
    assert bench.scheduler.reset_prefix_cache(reset_running_requests=True)
    assert len(bench.sharing.blocks) == 0
    bench.run().check_charges().check_split()
    bench.check_nothing_kept()


@both_ways
@pytest.mark.parametrize("seed", range(3))
def test_aborts_give_their_part_to_the_others(seed, overlap):
    """Running, waiting or preempted calls that go away; in flight their last token is lost."""
    bench, draw = Bench(60, overlap=overlap), random.Random(seed)
    for name, tokens, num_output_tokens in random_calls(seed, 40):
        bench.add(name, tokens, num_output_tokens)
    for name, _, _ in draw.sample(random_calls(seed, 40), 20):
        bench.step()
        bench.engine.abort(name)
    bench.run().check_charges().check_split()
    bench.check_nothing_kept()


@both_ways
def test_two_applications_split_a_common_system_prompt(overlap):
    """Each pays half of the 320 tokens both hold, and the whole once the other has gone."""
    bench = Bench(3000, overlap=overlap)
    bench.add("short", prompt(("system", 320), (1, 16)), 30)
    bench.add("long", prompt(("system", 320), (2, 16)), 60)
    bench.run().check_charges().check_split()
    bench.check_nothing_kept()
    short, long = (bench.ledger.in_flight[name] for name in ("short", "long"))
    assert short.attained_service == pytest.approx(call_cost(336, 30) - 30 * 160)
    # asynchronously a call is seen to have ended a step late, and holds its blocks so long
    num_shared = 30 + overlap
    assert long.attained_service == pytest.approx(call_cost(336, 60) - num_shared * 160)


@both_ways
def test_prefill_in_chunks_shares_too(overlap):
    """Calls being prefilled hold their part unpaid; those that decode pay theirs and no more."""
    bench = Bench(3000, overlap=overlap, max_num_batched_tokens=256)
    calls = random_calls(5, 60)
    for name, tokens, num_output_tokens in calls:
        bench.add(name, tokens, num_output_tokens)
    bench.run().check_charges()
    assert any(
        len(step.delivered) < len(held.tokens)
        for step, held in zip(bench.steps, bench.held, strict=True)
    )
    accounts = bench.ledger.in_flight.values()
    formula = sum(call_cost(len(tokens), output) for _, tokens, output in calls)
    assert formula == pytest.approx(
        sum(account.attained_service + account.shared_service for account in accounts)
    )
    bench.check_nothing_kept()


@both_ways
def test_blocks_filled_while_decoding_are_shared_when_hit(overlap):
    """Nobody was told of them when they filled; the next turn of a dialogue hits them."""
    bench = Bench(3000, overlap=overlap)
    question = prompt((1, 40))
    bench.add("first", question, 120)
    for _ in range(60):
        bench.step()
    assert len(bench.sharing.blocks) == 0
    (answer,) = bench.scheduler.running
    bench.add("second", [*question, *answer.output_token_ids, 1], 60)
    bench.step()
    assert bench.held[-1].shared_tokens == {"first": 48, "second": 48}  # six blocks, half of each
    bench.run().check_charges().check_split()
    bench.check_nothing_kept()


@both_ways
def test_the_holder_of_a_block_is_found_behind_a_copy_of_its_first(overlap):
    """Two calls computed the same on their own; the third hits a block of each."""
    bench = Bench(3000, overlap=overlap)
    start = prompt((1, 16))
    bench.add("first", start, 12)  # the cached copy of block 0 is its own
    bench.step()
    bench.add("second", [*start, *[7] * 20], 40)  # that of block 1
    bench.scheduler.requests["second"].skip_reading_prefix_cache = True
    bench.step()
    bench.add("third", [*start, *[7] * 20], 40)
    bench.step()
    assert bench.held[-1].shared_tokens == {"first": 8, "second": 8, "third": 16}
    bench.run().check_charges().check_split()
    bench.check_nothing_kept()


@both_ways
@pytest.mark.parametrize("seed", range(4))
def test_copies_of_a_block_are_told_apart(seed, overlap):
    """Half of the calls hit nothing and make copies, in chunks that come between each other."""
    bench, draw = Bench(3000, overlap=overlap, max_num_batched_tokens=48), random.Random(seed)
    for name, tokens, num_output_tokens in random_calls(seed, 60):
        bench.add(name, tokens, num_output_tokens)
        bench.scheduler.requests[name].skip_reading_prefix_cache = draw.random() < 0.5
        for _ in range(draw.choice([0, 0, 1, 3])):
            bench.step()
    bench.run().check_charges()
    bench.check_nothing_kept()


def test_one_that_has_ended_is_no_holder():
    """While a connector keeps its blocks, those who hit them split them among themselves."""
    bench = Bench(3000)
    bench.sharing = None  # vLLM's counts are of others than those who pay
    sharing = bench.scheduler.sharing
    bench.scheduler._connector_finished = lambda request: (request.request_id == "ended", None)
    bench.add("ended", prompt((1, 64)), 1)
    bench.step()
    bench.add("a", prompt((1, 64), (2, 20)), 20)
    bench.step()
    a = call_of(bench.scheduler.requests["a"])
    assert sharing.blocks.shared_tokens(a) == 0
    bench.add("b", prompt((1, 64), (3, 20)), 20)
    bench.step()
    b = call_of(bench.scheduler.requests["b"])
    assert a.shared_tokens == b.shared_tokens == 32
    bench.run()
    assert len(sharing.blocks) == 0
    assert not bench.scheduler.errors


def test_decoding_tells_us_nothing():
    """Whatever blocks it fills: no method is called, no change is gathered."""
    bench = Bench(3000)
    for index in range(2):
        bench.add(f"r{index}", prompt(("common", 64), (index, 20)), 200)
    bench.step()
    bench.sharing.blocks.hold = None
    for _ in range(150):
        bench.step()
    assert len(bench.sharing.blocks) == 4  # those hit
    assert not bench.sharing.due
    assert not bench.scheduler.errors


def test_a_broken_watcher_charges_everybody_in_full():
    """It is reported once, watching ends, and calls are charged p + i from the next step on."""
    bench = Bench(3000)
    for index in range(4):
        bench.add(f"r{index}", prompt(("common", 64), (index, 20)), 40)
    for _ in range(10):
        bench.step()
    calls = [call_of(request) for request in bench.scheduler.running]
    assert all(call.shared_tokens == 48 for call in calls)
    bench.sharing.blocks.hold = None
    bench.sharing = None  # its figures are held against vLLM's no more
    bench.add("late", prompt(("common", 64), ("late", 20)), 40)
    bench.run()
    assert dict(bench.scheduler.errors) == {"prefix_sharing:TypeError": 1}
    assert all(call.shared_tokens == 0 for call in calls)
    assert "pop_blocks_for_free" not in vars(
        bench.scheduler.kv_cache_manager.coordinator.single_type_managers[0]
    )
    accounts = dict(bench.ledger.in_flight)
    assert accounts.pop("late").attained_service == call_cost(84, 40)
    for account in accounts.values():
        assert call_cost(84, 40) - 40 * 48 < account.attained_service < call_cost(84, 40)


@pytest.mark.parametrize(
    ("prefix_caching", "settings"),
    [
        (False, Settings()),
        (True, Settings(prefix_cost="plain")),
        (True, Settings(policy="justitia_compute")),  # its cost is not memory
    ],
)
def test_nothing_is_watched_where_nothing_is_shared(prefix_caching, settings):
    """Without prefix caching, or where nobody asks what is held, there is no watcher."""
    options = OfflineOptions(100, max_model_len=1024, prefix_caching=prefix_caching)
    assert OfflineEngine(options, settings).scheduler.sharing is None
