"""Webhooks to a real local server that answers, fails, hangs and redirects."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import anyio
import pytest

from orchestration.webhooks import deliveries, sending
from orchestration.webhooks.courier import Courier
from orchestration.webhooks.deliveries import (
    CLAIM,
    DELIVERED,
    GAVE_UP,
    LONGEST_WAIT,
    MOST_ATTEMPTS,
    PENDING,
    WebhookNotFoundError,
    wait_after,
)
from orchestration.webhooks.hosts import HostRules, WebhookRefusedError
from orchestration.webhooks.sending import Message, Sender, load_secret, sign
from tests.orchestration.conftest import _open as open_kind
from tests.orchestration.conftest import make_engine
from utils.clock import ManualClock
from utils.errors import ConfigError

pytestmark = pytest.mark.anyio
SECRET = "a secret of the operator"
PLACE = "env:QM_TEST_SECRET"


class Receiver:
    """A server that answers as told and keeps what it got."""

    def __init__(self):
        self.got, self.status, self.headers = [], 200, {}
        self.released = threading.Event()
        self.hangs = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(SimpleNamespace(headers=dict(self.headers), body=body))
                if receiver.hangs:
                    receiver.released.wait(20)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(params=["memory", "server"])
async def engine(request, tmp_path):
    """A store on SQLite and on a server; the store's own tests have all three."""
    async with contextlib.AsyncExitStack() as stack:
        yield make_engine(await open_kind(request, stack, tmp_path))


@pytest.fixture
def place(engine, monkeypatch):
    monkeypatch.setenv("QM_TEST_SECRET", SECRET)
    sender = Sender(HostRules(["127.0.0.1"]), engine.clock, attempt_seconds=5)
    engine.courier = Courier(engine.database, sender, engine.clock)
    return engine


async def announce(place, type_="model_promoted", **payload):
    async with place.database.write() as connection:
        await place.ledger.announce(connection, None, type_, payload)


async def counts(place):
    return [states for _, states in await place.courier.webhooks.list_webhooks()]


async def add(place, receiver, *events):
    wanted = events or ("model_promoted",)
    return await place.courier.add("ops", receiver.url, wanted, PLACE)


async def test_an_event_arrives_once_and_signed(place, receiver):
    await announce(place, version=1)  # before anybody asked
    await add(place, receiver, "model_promoted", "drift_detected")
    await announce(place, "job_submitted")
    await announce(place, version=2)
    newest = (await place.store.events())[-1]
    assert await place.courier.look() == [DELIVERED]
    assert await place.courier.look() == []
    (got,) = receiver.got
    body = json.loads(got.body)
    assert (body["type"], body["data"], body["seq"]) == (
        "model_promoted",
        {"version": 2},
        newest.seq,
    )
    headers = {name.lower(): value for name, value in got.headers.items()}
    assert headers["webhook-id"] == body["id"]
    assert headers["host"] == receiver.url.split("/")[2]
    assert int(headers["webhook-timestamp"]) == place.clock.now().timestamp()
    signed = f"{body['id']}.{headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert await counts(place) == [{DELIVERED: 1}]


async def test_a_failure_waits_longer_each_time_and_keeps_its_id(place, receiver):
    await add(place, receiver)
    await announce(place)
    receiver.status = 500
    for attempt in range(1, 5):
        assert await place.courier.look() == [PENDING]
        assert await place.courier.look() == []
        place.clock.advance(wait_after(attempt).total_seconds() - 1)
        assert await place.courier.look() == []
        place.clock.advance(1)
    receiver.status = 204
    assert await place.courier.look() == [DELIVERED]
    assert len(receiver.got) == 5
    assert len({json.loads(one.body)["id"] for one in receiver.got}) == 1
    assert len({one.body for one in receiver.got}) == 1


async def test_it_gives_up_after_so_many_attempts_and_says_so(place, receiver):
    await add(place, receiver)
    await announce(place)
    receiver.status = 503
    states = []
    for _ in range(MOST_ATTEMPTS + 2):
        states += await place.courier.look()
        place.clock.advance(LONGEST_WAIT.total_seconds())
    assert states == [PENDING] * (MOST_ATTEMPTS - 1) + [GAVE_UP]
    assert len(receiver.got) == MOST_ATTEMPTS
    (told,) = [one for one in await place.store.events() if one.type == "webhook_gave_up"]
    assert (told.payload["webhook"], told.payload["error"]) == ("ops", "status 503")


async def test_a_redirect_is_not_followed(place, receiver):
    other = Receiver()
    try:
        await add(place, receiver)
        await announce(place)
        receiver.status, receiver.headers = 302, {"location": other.url}
        assert await place.courier.look() == [PENDING]
        assert len(receiver.got) == 1
        assert other.got == []
        assert "redirects are not followed" in await place.courier.test("ops")
    finally:
        other.close()


async def test_a_server_that_hangs_costs_one_attempt(place, receiver):
    place.courier._sender._attempt_seconds = 0.2
    await add(place, receiver)
    await announce(place)
    receiver.hangs = True
    assert await place.courier.look() == [PENDING]
    assert await place.courier.test("ops") == "no answer within 0.2 s"


async def test_a_server_that_is_away_is_tried_again(place, receiver):
    await add(place, receiver)
    receiver.close()
    assert "ConnectError" in await place.courier.test("ops")


async def test_death_between_sending_and_recording_repeats_with_the_same_id(
    place, receiver, monkeypatch
):
    await add(place, receiver)
    await announce(place)

    async def die(claim, error):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(place.courier.webhooks, "record", die)
        with pytest.raises(ExceptionGroup):
            await place.courier.look()
    other = Courier(place.database, place.courier._sender, place.clock)
    assert await other.look() == []  # somebody may still be sending it
    place.clock.advance(CLAIM.total_seconds())
    assert await other.look() == [DELIVERED]
    first, second = (json.loads(one.body)["id"] for one in receiver.got)
    assert first == second


async def test_a_late_record_of_an_old_attempt_changes_nothing(place, receiver):
    await add(place, receiver)
    await announce(place)
    await place.courier.webhooks.spread((await place.store.events())[-1].seq)
    (old,) = await place.courier.webhooks.claim(9)
    place.clock.advance(CLAIM.total_seconds())
    (new,) = await place.courier.webhooks.claim(9)
    assert (old.attempt, new.attempt) == (1, 2)
    await place.courier.webhooks.record(new, None)
    await place.courier.webhooks.record(old, "too late")
    assert await counts(place) == [{DELIVERED: 1}]


async def test_several_couriers_send_each_delivery_once(place, receiver):
    await add(place, receiver)
    for number in range(6):
        await announce(place, number=number)
    couriers = [Courier(place.database, place.courier._sender, place.clock) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for one in couriers:
            group.start_soon(one.look)
    await place.courier.look()
    numbers = [json.loads(one.body)["data"]["number"] for one in receiver.got]
    assert sorted(numbers) == list(range(6))


async def test_a_flood_waits_in_the_outbox(place, receiver, monkeypatch):
    monkeypatch.setattr(deliveries, "MOST_PENDING", 3)
    receiver.status = 500
    await add(place, receiver)
    for number in range(5):
        await announce(place, number=number)
    for _ in range(3):
        await place.courier.look()
    assert await counts(place) == [{PENDING: 3}]
    receiver.status = 200
    place.clock.advance(3600)
    for _ in range(3):
        await place.courier.look()
    assert await counts(place) == [{DELIVERED: 5}]


async def test_a_host_that_is_listed_no_more_gets_nothing(place, receiver):
    await add(place, receiver)
    await announce(place)
    strict = Courier(place.database, Sender(HostRules([]), place.clock), place.clock)
    assert await strict.look() == [PENDING]
    assert receiver.got == []
    assert (await strict.test("ops")).startswith("refused: host 127.0.0.1 is not listed")


async def test_large_data_stays_here(place, receiver):
    await add(place, receiver)
    await announce(place, text="x" * 70_000)
    await place.courier.look()
    body = json.loads(receiver.got[0].body)
    assert (body["data"], body["data_omitted"]) == (None, True)


async def test_what_cannot_be_a_webhook_is_refused_and_nothing_kept(place, receiver):
    for name, url, events, secret, word in [
        ("a b", receiver.url, ["x"], PLACE, "name="),
        ("a", "https://evil.example/", ["x"], PLACE, "not listed"),
        ("a", receiver.url, [], PLACE, "missing"),
        ("a", receiver.url, ["No!"], PLACE, "No!"),
        ("a", receiver.url, ["webhook_gave_up"], PLACE, "webhook_gave_up"),
        ("a", receiver.url, ["x"], "hunter2", "never stored"),
    ]:
        with pytest.raises(ConfigError, match=word):
            await place.courier.add(name, url, events, secret)
    assert await place.courier.webhooks.list_webhooks() == []
    await add(place, receiver)
    with pytest.raises(ConfigError, match="exists already"):
        await add(place, receiver)
    await announce(place)
    receiver.status = 500
    await place.courier.look()
    await place.courier.webhooks.delete("ops")
    assert await place.courier.look() == []
    with pytest.raises(WebhookNotFoundError):
        await place.courier.test("ops")


# Without a database


def rules(*hosts, **names):
    return HostRules(hosts, resolve=lambda host, _: names[host.replace(".", "_")])


def test_only_listed_hosts_at_public_addresses_are_found():
    found = rules("Hooks.Example.", hooks_example=["93.184.216.34"]).find(
        "https://hooks.example:8443/x?y=1"
    )
    assert (found.host, found.port, found.address) == ("hooks.example", 8443, "93.184.216.34")
    assert found.is_secure


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "224.0.0.1"),
        *("2002:7f00:1::", "64:ff9b::a00:1"),
    ],
)
def test_a_name_with_an_inner_address_is_refused(address):
    for answer in ([address], ["93.184.216.34", address]):
        with pytest.raises(WebhookRefusedError, match="not public"):
            rules("hooks.example", hooks_example=answer).find("https://hooks.example/")
    listed = rules("hooks.example", address, hooks_example=[address])
    assert listed.find("https://hooks.example/").address == address


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://other.example/", "not listed"),
        ("https://hooks.example.evil.com/", "not listed"),
        ("http://hooks.example/", "use https"),
        ("ftp://hooks.example/", "https://host/path"),
        ("file:///etc/passwd", "https://host/path"),
        ("https://", "https://host/path"),
        ("https://user:pw@hooks.example/", "no user"),
        ("https://hooks.example@evil.com/", "no user"),
        ("https://hooks.example/#x", "fragment"),
        ("https://hooks.example:99999/", "Port|port"),
        ("https://hooks.example/ x", "without spaces"),
        ("https://hooks.example/\r\nx: y", "without spaces"),
        ("https://hóoks.example/", "ASCII"),
        ("https://[::1", "url="),
        ("https://hooks.example/" + "x" * 2000, "https://host/path"),
    ],
)
def test_other_urls_are_refused(url, word):
    with pytest.raises(WebhookRefusedError, match=word):
        rules("hooks.example").check_url(url)


def test_localhost_is_a_literal_address_too():
    assert rules("localhost", localhost=["127.0.0.1"]).find("http://localhost:9/").port == 9
    with pytest.raises(WebhookRefusedError, match="not public"):
        rules("localhost", localhost=["10.0.0.1"]).find("http://localhost/")


def test_secrets_are_read_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("QM_TEST_SECRET", SECRET)
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    assert load_secret(PLACE) == load_secret(f"file:{path}") == SECRET.encode()
    path.write_text("short")
    for place, word in (
        (f"file:{path}", "shorter"),
        ("file:/absent", "cannot be read"),
        ("env:QM_ABSENT", "cannot be read"),
        ("vault:x", "never stored"),
    ):
        with pytest.raises(ConfigError, match=word):
            load_secret(place)


async def test_a_secret_that_is_gone_is_a_failure_that_does_not_tell_it(monkeypatch):
    sender = Sender(HostRules(["127.0.0.1"]), ManualClock())
    message = Message(id="1", url="http://127.0.0.1:1/", secret="env:QM_ABSENT", body="{}")
    assert "cannot be read" in await sender.send(message)


def test_the_signature_is_that_of_the_standard():
    # From the example of Standard Webhooks' own specification.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_attempt_takes_less_than_its_claim():
    assert CLAIM.total_seconds() > sending.ATTEMPT_SECONDS * 2
