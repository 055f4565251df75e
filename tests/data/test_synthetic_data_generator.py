"""The promised face: sizes as asked for, labels that follow from the market, equal to the byte."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from data.agent_profiles import PROFILES, AgentBehaviorProfile, AgentType
from data.market_timeline import CONDITIONS, SYMBOLS, make_timeline
from data.price_indicators import compute_rsi
from data.scenario import ScenarioError
from data.synthetic_data_generator import DEFAULT_START, SyntheticDataGenerator
from data.synthetic_events import COMMISSION
from utils.errors import ConfigError

SMALL = {"num_agents": 3, "duration_hours": 0.5, "num_events": 20}


@pytest.fixture(scope="module")
def generator():
    return SyntheticDataGenerator()


@pytest.fixture(scope="module")
def network(generator):
    return generator.generate_agent_network()


@pytest.fixture(scope="module")
def events(generator, network):
    return generator.generate_trading_scenarios(network["agents"], 1000)


@pytest.fixture(scope="module")
def prices(generator):
    rows = generator.generate_market_data_timeline(9)
    return {(row["timestamp"], row["symbol"]): row for row in rows}


def later(stamp, minutes):
    return (datetime.fromisoformat(stamp) + timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize("count", [1, 2, 5, 12, 50])
def test_network_has_the_requested_size_in_one_piece(generator, count):
    made = generator.generate_agent_network(count)
    agents = {agent["id"]: agent for agent in made["agents"]}
    assert len(agents) == count
    reached, todo = {"agent_000"}, ["agent_000"]
    while todo:
        fresh = set(agents[todo.pop()]["connections"]) - reached
        reached |= fresh
        todo += fresh
    assert reached == set(agents)


def test_network_metrics_and_links_agree(network):
    agents = {agent["id"]: agent for agent in network["agents"]}
    for link in network["connections"]:
        assert link["target"] in agents[link["source"]]["connections"]
        assert link["source"] in agents[link["target"]]["connections"]
        assert 0 < link["strength"] <= 1
    ends = sum(len(agent["connections"]) for agent in agents.values())
    metrics = network["metrics"]
    assert metrics["num_connections"] == len(network["connections"]) == ends / 2
    assert metrics["mean_degree"] == pytest.approx(ends / 12, abs=1e-4)
    assert metrics["density"] == pytest.approx(ends / (12 * 11), abs=1e-4)
    assert metrics["agents_by_type"] == dict.fromkeys((one.value for one in AgentType), 3)
    assert network["timestamp"] == DEFAULT_START.isoformat()


def test_agents_lie_within_their_profile(generator):
    for agent in generator.generate_agent_network(40)["agents"]:
        profile = PROFILES[AgentType(agent["type"])]
        low, high = profile.throughput
        assert low <= agent["throughput"] <= high
        assert profile.accuracy[0] <= agent["accuracy"] <= profile.accuracy[1]
        assert profile.response_time[0] <= agent["responseTime"] <= profile.response_time[1]
        assert len(agent["utilization"]) == 24
        assert agent["domains"] == list(profile.domains)


def test_readings_cover_four_fifths_of_agent_minutes_and_metrics(generator, network):
    rows = generator.generate_performance_timeline(network["agents"], 10)
    full = 12 * 600 * 4
    assert len(rows) / full == pytest.approx(0.8, abs=0.01)
    for key, parts in (("agentId", 12), ("metric", 4)):
        counts = Counter(row[key] for row in rows)
        assert len(counts) == parts
        assert min(counts.values()) > 0.75 * full / parts
    stamps = [row["timestamp"] for row in rows]
    assert stamps == sorted(stamps)
    assert len({(row["timestamp"], row["agentId"], row["metric"]) for row in rows}) == len(rows)


def series_of(rows, agent, metric):
    chosen = (row for row in rows if row["agentId"] == agent["id"] and row["metric"] == metric)
    return {row["timestamp"]: row["value"] for row in chosen}


def test_readings_follow_the_hours_of_the_agent_and_hang_together(generator, network):
    rows = generator.generate_performance_timeline(network["agents"], 24 * 4)
    agent = network["agents"][0]
    used = series_of(rows, agent, "utilization")
    hours = [[] for _ in range(24)]
    for stamp, value in used.items():
        hours[datetime.fromisoformat(stamp).hour].append(value)
    means = np.asarray([np.mean(one) for one in hours])
    assert np.corrcoef(means, agent["utilization"])[0, 1] > 0.9
    waits, done = (series_of(rows, agent, metric) for metric in ("response_time", "throughput"))
    shared = [stamp for stamp in used if stamp in waits and stamp in done][:500]
    for stamp in shared:
        assert waits[stamp] == pytest.approx(agent["responseTime"] / (1 - used[stamp]), rel=1e-3)
        assert done[stamp] == pytest.approx(agent["throughput"] * used[stamp], rel=1e-3)
    values = np.asarray(list(used.values()))
    assert np.corrcoef(values[1:], values[:-1])[0, 1] > 0.8
    right = series_of(rows, agent, "accuracy").values()
    assert 0 < min(right) <= max(right) <= 1


def test_event_fields_are_the_promised_ones(events):
    promised = {"id", "timestamp", "type", "agentId", "symbol", "quantity", "price", "confidence"}
    promised |= {"reasoning", "outcome", "profit", "marketCondition", "volatility"}
    assert promised | {"side"} == set(events[0])
    assert {event["type"] for event in events} == {
        *("buy", "sell", "analysis", "decision", "execution")
    }
    assert len({event["id"] for event in events}) == 1000
    stamps = [event["timestamp"] for event in events]
    assert stamps == sorted(stamps)
    assert all(0 < event["confidence"] < 1 for event in events)


def test_profit_and_outcome_follow_from_the_prices_of_the_market_rows(events, prices):
    for event in events:
        now = prices[event["timestamp"], event["symbol"]]
        then = prices[later(event["timestamp"], 60), event["symbol"]]["price"]
        assert event["price"] == now["price"]
        assert event["marketCondition"] == now["marketCondition"]
        gain = (then - now["price"]) * (1 if event["side"] == "buy" else -1)
        if event["type"] in {"analysis", "decision"}:
            assert (event["quantity"], event["profit"]) == (0, 0.0)
            assert event["outcome"] == ("success" if gain > 0 else "failure")
            continue
        fee = COMMISSION * (now["price"] + then)
        assert event["quantity"] >= 1
        assert event["profit"] == pytest.approx(event["quantity"] * (gain - fee), abs=0.01)
        assert event["outcome"] == ("success" if event["profit"] > 0 else "failure")
        if event["type"] in {"buy", "sell"}:
            assert event["side"] == event["type"]


def test_labels_are_not_all_alike(events):
    assert {event["outcome"] for event in events} == {"success", "failure"}
    assert {event["side"] for event in events} == {"buy", "sell"}


def test_agents_follow_the_last_hour_but_for_their_errors():
    made = SyntheticDataGenerator(7)
    agents = made.generate_agent_network(12)["agents"]
    errors = {agent["id"]: agent["errorProbability"] for agent in agents}
    judged = [
        event
        for event in made.generate_trading_scenarios(agents, 4000)
        if event["type"] not in {"buy", "sell"}
    ]
    against = np.mean(["against" in event["reasoning"] for event in judged])
    assert against == pytest.approx(np.mean([errors[one["agentId"]] for one in judged]), abs=0.01)


def test_market_has_eighteen_symbols_every_five_minutes(generator):
    rows = generator.generate_market_data_timeline()
    assert len(rows) == 8 * 12 * 18 == 1728
    assert [row["symbol"] for row in rows[:18]] == list(SYMBOLS)
    assert rows[18]["timestamp"] == later(rows[0]["timestamp"], 5)
    assert rows[0]["timestamp"] == DEFAULT_START.isoformat()


def test_indicators_belong_to_the_prices(generator):
    timeline = make_timeline(generator.seed, 96)
    index = compute_rsi(timeline.price)[timeline.first :]
    rows = generator.generate_market_data_timeline()
    assert [row["rsi"] for row in rows] == pytest.approx(index.ravel(), abs=1e-5)
    # From the rows alone, once their own past is long enough.
    own = [row for row in rows if row["symbol"] == "KO"]
    past = np.asarray([row["price"] for row in own[40:60]])
    assert own[59]["sma"] == pytest.approx(past.mean(), rel=1e-6)
    assert own[59]["bollingerUpper"] == pytest.approx(past.mean() + 2 * past.std(), rel=1e-6)
    moves = np.diff(np.log([row["price"] for row in own[39:60]]))
    assert own[59]["volatility"] == pytest.approx(moves.std() * np.sqrt(252 * 96), rel=1e-3)
    assert own[59]["change"] == pytest.approx(math.expm1(moves[-1]), abs=1e-6)


def test_conditions_have_their_chances_and_volatilities():
    timeline = make_timeline(3, 24 * 600)
    share = np.bincount(timeline.condition, minlength=4) / len(timeline.condition)
    assert share == pytest.approx([one.probability for one in CONDITIONS], abs=0.06)
    moves = np.diff(np.log(timeline.price), axis=0)
    for number, condition in enumerate(CONDITIONS):
        spread = moves[timeline.condition[1:] == number].std() * np.sqrt(252 * 96)
        assert spread == pytest.approx(0.2 * condition.volatility, rel=0.15)


def test_a_longer_market_begins_with_the_shorter_one(generator):
    rows = generator.generate_market_data_timeline(1)
    assert generator.generate_market_data_timeline(6)[: len(rows)] == rows


def test_dataset_is_equal_to_the_byte_and_written_whole(tmp_path):
    for name in ("first", "second"):
        made = SyntheticDataGenerator(5)
        made.generate_market_data_timeline(1)
        made.generate_complete_dataset(folder=tmp_path / name, **SMALL)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [
        *("market_data.csv", "performance_metrics.csv", "synthetic_data.json"),
        "trading_events.csv",
    ]
    for name in files:
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "second" / name).read_bytes()
    other = SyntheticDataGenerator(6).generate_complete_dataset(save_to_file=False, **SMALL)
    again = SyntheticDataGenerator(5).generate_complete_dataset(save_to_file=False, **SMALL)
    assert other["market_data"] != again["market_data"]
    assert other["trading_events"] != again["trading_events"]
    assert other["performance_metrics"] != again["performance_metrics"]
    assert other["agent_network"] != again["agent_network"]


def test_file_holds_the_promised_sections_and_counts(tmp_path):
    made = SyntheticDataGenerator().generate_complete_dataset(folder=tmp_path, **SMALL)
    read = json.loads((tmp_path / "synthetic_data.json").read_text())
    assert read == made
    assert list(read) == [
        *("metadata", "agent_network", "performance_metrics", "trading_events", "market_data")
    ]
    metadata = read["metadata"]
    assert metadata["num_agents"] == len(read["agent_network"]["agents"]) == 3
    assert metadata["num_trading_events"] == len(read["trading_events"]) == 20
    assert metadata["num_market_rows"] == len(read["market_data"]) == 1728
    assert metadata["num_performance_metrics"] == len(read["performance_metrics"])
    with (tmp_path / "trading_events.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [event["id"] for event in made["trading_events"]]
    assert float(rows[3]["price"]) == made["trading_events"][3]["price"]


def test_nothing_is_written_when_not_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SyntheticDataGenerator().generate_complete_dataset(False, **SMALL)
    assert list(tmp_path.iterdir()) == []
    SyntheticDataGenerator().generate_complete_dataset(**SMALL)
    assert (tmp_path / "var" / "synthetic_data" / "synthetic_data.json").is_file()


def test_start_moves_every_time_stamp_and_nothing_else():
    start = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    first = SyntheticDataGenerator().generate_complete_dataset(False, **SMALL)
    moved = SyntheticDataGenerator(start=start).generate_complete_dataset(False, **SMALL)
    shift = start - DEFAULT_START
    for name in ("performance_metrics", "trading_events", "market_data"):
        for a, b in zip(first[name], moved[name], strict=True):
            assert (
                datetime.fromisoformat(b["timestamp"]) - datetime.fromisoformat(a["timestamp"])
                == shift
            )
            assert {**a, "timestamp": ""} == {**b, "timestamp": ""}


BAD_CALLS = {
    "no agents": (lambda g, a: g.generate_agent_network(0), "num_agents=0"),
    "negative agents": (lambda g, a: g.generate_agent_network(-3), "num_agents=-3"),
    "no time": (lambda g, a: g.generate_performance_timeline(a, 0), "duration_hours=0"),
    "negative": (lambda g, a: g.generate_performance_timeline(a, -1), "duration_hours=-1"),
    "NaN": (lambda g, a: g.generate_market_data_timeline(float("nan")), "duration_hours=nan"),
    "short": (lambda g, a: g.generate_market_data_timeline(0.01), "duration_hours=0.01"),
    "events": (lambda g, a: g.generate_trading_scenarios(a, -1), "num_events=-1"),
    "nobody acts": (lambda g, a: g.generate_trading_scenarios([], 5), "no agents"),
    "nobody works": (lambda g, a: g.generate_performance_timeline([], 5), "no agents"),
    "unknown type": (
        lambda g, a: g.generate_trading_scenarios([{**a[0], "type": "dreaming"}], 5),
        "unknown type 'dreaming'",
    ),
    "no field": (
        lambda g, a: g.generate_performance_timeline([{"id": "x", "type": "analysis"}], 5),
        "agent 0 lacks",
    ),
    "no section": (lambda g, a: g.save_dataset({"metadata": {}}), "lacks agent_network"),
    "no time zone": (
        lambda g, a: SyntheticDataGenerator(start=DEFAULT_START.replace(tzinfo=None)),
        "time zone",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_requests_are_refused_in_one_sentence(generator, network, call, message):
    with pytest.raises((ConfigError, ScenarioError), match=message):
        call(generator, network["agents"])


BAD_PROFILES = [
    ({"throughput": (5.0, 1.0)}, "throughput"),
    ({"response_time": (0.0, 1.0)}, "response_time"),
    ({"accuracy": (0.5, 1.5)}, "0, 1"),
    ({"utilization": (0.5,) * 23}, "24 hours"),
    ({"error_probability": -0.1}, "0, 1"),
    ({"domains": ()}, "domain"),
]


@pytest.mark.parametrize(("change", "message"), BAD_PROFILES)
def test_impossible_profiles_are_refused(change, message):
    fields = vars(PROFILES[AgentType.ANALYSIS])
    with pytest.raises(ConfigError, match=message):
        AgentBehaviorProfile(**{**fields, **change})


def test_no_events_is_an_empty_list_and_an_empty_table(generator, network, tmp_path):
    assert generator.generate_trading_scenarios(network["agents"], 0) == []
    generator.generate_complete_dataset(folder=tmp_path, **{**SMALL, "num_events": 0})
    assert (tmp_path / "trading_events.csv").read_text() == ""
