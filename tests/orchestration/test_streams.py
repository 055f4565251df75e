"""Server-sent events over a real socket: live, resumed, bounded, ended when the server stops."""

from __future__ import annotations

import contextlib
import json

import anyio
import httpx
import pytest

from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.endpoints.streams import Piece, StreamConfig, Streams
from orchestration.serving import make_api_parts
from tests.orchestration.house import Hand, open_house
from utils.clock import ManualClock, SystemClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio


class Served:
    def __init__(self, application, parts, url, stop):
        self.application, self.parts, self.url, self.stop = application, parts, url, stop

    async def submit(self):
        async with httpx.AsyncClient(base_url=self.url) as client:
            return (await client.post("/v1/jobs", json={"config": {}})).json()["id"]

    @contextlib.asynccontextmanager
    async def stream(self, path, **headers):
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=60) as client,
            client.stream("GET", path, headers=headers) as answer,
        ):
            yield answer

    async def read(self, path, **headers):
        async with self.stream(path, **headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            return parse([line async for line in answer.aiter_lines()])


def parse(lines):
    """Events as (id, type, data)."""
    found, now = [], {}
    for line in lines:
        if not line:
            if now:
                place = int(now["id"]) if "id" in now else None
                found.append((place, now["event"], json.loads(now["data"])))
            now = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            now[name] = value
    return found


async def skip_to(lines, start):
    while not (await anext(lines)).startswith(start):
        pass


@contextlib.asynccontextmanager
async def open_served(var, **config):
    async with open_house(var) as application, anyio.create_task_group() as group:
        parts = make_api_parts(application, Streams(SystemClock(), StreamConfig(**config)))
        server = ApiServer(make_api(parts), host="127.0.0.1", port=0, on_stop=parts.streams.stop)
        stop = anyio.CancelScope()

        async def run():
            with stop:
                await server.run()

        group.start_soon(run)
        yield Served(application, parts, server.url, stop)
        stop.cancel()


@pytest.fixture
async def served(tmp_path):
    async with open_served(tmp_path, poll_seconds=0.02) as found:
        yield found


async def test_a_jobs_events_are_followed_to_its_end(served):
    job_id = await served.submit()
    hand = Hand(served.application)
    path = f"/v1/jobs/{job_id}/events/stream"
    async with served.stream(path) as answer:
        lines = answer.aiter_lines()
        await skip_to(lines, "data")
        await hand.finish(await hand.claim())
        rest = parse([line async for line in lines])
    types = [type_ for _, type_, _ in rest]
    assert types[-3:] == ["job_succeeded", "run_finished", "end"]
    whole = await served.read(path)
    places = [place for place, _, _ in whole[:-1]]
    assert places == sorted(set(places))
    resumed = await served.read(path, **{"Last-Event-ID": str(places[1])})
    assert resumed == whole[2:]
    assert (await served.read(f"{path}?since={places[1]}")) == whole[2:]


async def test_all_events_until_the_stream_is_old(tmp_path):
    async with open_served(tmp_path, longest_seconds=0.3, poll_seconds=0.02) as served:
        job_id = await served.submit()
        events = await served.read("/v1/events/stream")
    assert [(type_, data["job_id"]) for _, type_, data in events] == [("job_submitted", job_id)]
    assert events[0][0] == events[0][2]["seq"]


async def test_a_stream_that_is_never_silent_gets_old_too():
    clock = ManualClock()

    async def source(after):
        assert after < 9
        clock.advance(100)
        return [Piece(id=after + 1, type="note", data={})], False

    streams = Streams(clock, StreamConfig(longest_seconds=250))
    text = [piece async for piece in streams.answer(source, 0).body_iterator]
    assert [place for place, _, _ in parse("".join(text).splitlines())] == [1, 2, 3]


async def test_logs_are_followed_to_the_attempts_end(served, tmp_path):
    job_id = await served.submit()
    hand = Hand(served.application)
    claimed = await hand.claim()
    log = tmp_path / "work" / job_id / "attempt-1.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n")
    async with served.stream(f"/v1/jobs/{job_id}/logs/stream") as answer:
        lines = answer.aiter_lines()
        await skip_to(lines, "data")
        with log.open("a") as file:
            file.write("two\n")
        await hand.finish(claimed)
        rest = parse([line async for line in lines])
    assert rest[-1][1] == "end"
    assert "".join(data["text"] for _, type_, data in rest[:-1]) == "two\n"
    resumed = await served.read(f"/v1/jobs/{job_id}/logs/stream", **{"Last-Event-ID": "2"})
    assert resumed == [(8, "log", {"attempt": 1, "text": "e\ntwo\n"}), (None, "end", {})]


async def test_too_many_streams_and_readers_that_leave(tmp_path):
    async with open_served(tmp_path, most=1, poll_seconds=0.01) as served:
        async with served.stream("/v1/events/stream") as first:
            lines = first.aiter_lines()  # reads on; dropped, it would close the connection
            await anext(lines)
            assert served.parts.streams.open == 1
            async with served.stream("/v1/events/stream") as second:
                assert (second.status_code, "retry-after" in second.headers) == (429, True)
        with anyio.fail_after(120):
            while served.parts.streams.open:  # noqa: ASYNC110  the reader has left
                await anyio.sleep(0.01)
        async with served.stream("/v1/events/stream") as third:
            assert third.status_code == 200


async def test_a_reader_that_takes_nothing_loses_its_place():
    streams = Streams(SystemClock(), StreamConfig(longest_seconds=0.01, heartbeat_seconds=0.01))

    async def source(after):
        return [Piece(id=after + 1, type="x", data=0)], False

    async def send(message):
        if message.get("body"):
            await anyio.sleep_forever()  # as where all buffers on the way are full

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with anyio.fail_after(60):
        await streams.answer(source, 0)(scope, anyio.sleep_forever, send)
    assert streams.open == 0


async def test_silence_is_broken_by_comments(tmp_path):
    async with (
        open_served(tmp_path, heartbeat_seconds=0.02, poll_seconds=0.01) as served,
        served.stream("/v1/events/stream") as answer,
    ):
        lines = answer.aiter_lines()
        await skip_to(lines, ": still here")


async def test_open_streams_do_not_keep_the_server_from_stopping(tmp_path):
    with anyio.fail_after(120):
        async with (
            open_served(tmp_path, poll_seconds=3600) as served,
            served.stream("/v1/events/stream") as answer,
        ):
            lines = answer.aiter_lines()
            await anext(lines)
            served.stop.cancel()
            # Ended by the server, whole: no error of a connection that was torn down.
            assert [line async for line in lines] == [""]


async def test_unknown_jobs_and_wrong_positions(served):
    for path, status in [
        ("/v1/jobs/none/events/stream", 404),
        ("/v1/jobs/none/logs/stream", 404),
        ("/v1/events/stream?since=x", 422),
    ]:
        async with served.stream(path) as answer:
            assert answer.status_code == status
    async with served.stream("/v1/events/stream", **{"Last-Event-ID": "x"}) as answer:
        assert answer.status_code == 422


@pytest.mark.parametrize("field", ["most", "longest_seconds", "heartbeat_seconds", "poll_seconds"])
def test_streams_want_positive_numbers(field):
    with pytest.raises(ConfigError, match=field):
        StreamConfig(**{field: 0})
