"""Arrival stamps in three forms."""

from pathlib import Path

import pytest

from justitia_server.simulation import arrivals
from justitia_server.simulation.arrivals import Stamp, read_arrivals
from justitia_server.simulation.workload import WorkloadError

DATA = Path(arrivals.__file__).parent / "data" / "arrivals"

OURS = "arrival_s,tenant\n5,a\n5.25,\n7,b\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,4808,10\n"
    "2023-11-16 18:15:47.1805900,110,27\n"
)
MOONCAKE = (
    '{"timestamp": 3000, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3052, "input_length": 7, "output_length": 5, "hash_ids": [2]}\n'
)


def read(tmp_path, text):
    path = tmp_path / "arrivals"
    path.write_text(text)
    return read_arrivals(path)


def test_ours(tmp_path):
    """Seconds from the first, with tenants."""
    assert read(tmp_path, OURS) == [Stamp(0, "a"), Stamp(0.25, ""), Stamp(2, "b")]


@pytest.mark.parametrize(("text", "gap_s"), [(AZURE, 0.5), (MOONCAKE, 0.052)])
def test_those_of_public_traces(tmp_path, text, gap_s):
    """Azure's instants, Mooncake's milliseconds."""
    first, second = read(tmp_path, text)
    assert first == Stamp(0.0)
    assert second.arrival_s == pytest.approx(gap_s, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "number", "num_tenants"), [("azure_code_30min", 5740, 1), ("vtc_lmsys", 1500, 27)]
)
def test_those_that_ship(name, number, num_tenants):
    """As many as their table says."""
    stamps = read_arrivals(DATA / f"{name}.csv")
    assert (len(stamps), len({stamp.tenant for stamp in stamps})) == (number, num_tenants)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no file of arrivals"),
        ("when,who\n1,a\n", "no file of arrivals"),
        ("arrival_s,tenant\n", "holds no arrivals"),
        ("arrival_s,tenant\n1,a\nsoon,b\n", "line 3: arrival_s: not an instant: 'soon'"),
        ("arrival_s,tenant\n1,a\nnan,b\n", "line 3: arrival_s"),
        ("arrival_s,tenant\n2,a\n1,b\n", "line 3: it is earlier"),
        ("TIMESTAMP,x\n2023-13-16 1:1:1,1\n", "line 2: timestamp: not an instant"),
        ('{"timestamp": 1}\n{"time": 2}\n', 'line 2: a JSON object with "timestamp"'),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, text, said):
    """By file, line, and what was expected."""
    with pytest.raises(WorkloadError, match=said):
        read(tmp_path, text)
