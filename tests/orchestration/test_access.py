"""Who may: tokens, scopes, every route of the document, public addresses, and the audit log."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import delete, select, update
from typer.testing import CliRunner

from orchestration.app import Settings
from orchestration.cli import commands
from orchestration.endpoints.callers import OUTAGE_SECONDS, Callers
from orchestration.serving import serve
from tests.orchestration.doors import Doors, open_doors
from tests.orchestration.house import AGENT, REQUEST
from tests.postgres import open_server, open_server_database
from utils.clock import ManualClock
from utils.errors import ConfigError
from utils.persistence import access, access_tokens, audit_log
from utils.persistence.access_tokens import Scope
from utils.persistence.engine import open_database
from utils.persistence.errors import DatabaseError

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERBS = ("invoke", "batch")
OPEN_TO_ALL = {("get", "/health/live"), ("get", "/health/ready")}
FOR_CALLERS = {
    *(f"/v1/agents/{{name}}{of}:{verb}" for of in ("", "/versions/{version}") for verb in VERBS),
    "/v1/decisions/{decision_id}/outcome",  # who asked tells what came of it, once
}


def forgetful(doors):
    """The same doors, where a proof of a token holds for no time at all."""
    application, parts = doors.application, doors.parts
    callers = Callers(
        application.database, parts.clock, is_open=application.settings.is_local, trust_seconds=0
    )
    return Doors(application, dataclasses.replace(parts, callers=callers))


@pytest.fixture
async def doors(tmp_path):
    async with open_doors(tmp_path) as found:
        yield forgetful(found)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request, tmp_path):
    if request.param == "sqlite":
        found = await open_database(tmp_path / "q.sqlite")
        yield found
        await found.aclose()
    else:
        url = request.getfixturevalue("server_url")
        async with open_server_database(url, tmp_path) as found:
            yield found


def fill(path):
    return re.sub(r"\{[a-z_0-9]+\}", "a" * 12, path)


async def operations(doors):
    async with doors.caller() as client:
        document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


async def test_every_route_refuses_without_a_token_and_with_too_small_a_scope(doors):
    tokens = {scope: await doors.make_token(scope, scope) for scope in Scope}
    seen = 0
    async for method, path, operation in operations(doors):
        if (method, path) in OPEN_TO_ALL:
            continue
        seen += 1
        ((scheme, wanted),) = [*operation["security"][0].items()]
        assert scheme == "bearer"
        assert wanted, f"{method} {path} wants no scope"
        if method != "get" and path not in FOR_CALLERS:
            assert "invoke" not in wanted, f"{method} {path} changes something"
        async with doors.caller() as client:
            answer = await client.request(method, fill(path))
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"] == "Bearer"
        for scope, token in tokens.items():
            if scope in wanted or scope == "admin":
                continue
            async with doors.caller(token) as client:
                answer = await client.request(method, fill(path))
                assert answer.status_code == 403, f"{method} {path} as {scope}"
    assert seen > 8
    async with doors.application.database.read() as connection:
        outcomes = {line.outcome for line in await audit_log.list_audit(connection)}
    assert outcomes == {"403"}


async def test_loopback_is_open_until_the_first_token(doors):
    async with doors.caller() as client:
        assert (await client.get("/v1/agents")).status_code == 200
        token = await doors.make_token("first", "invoke")
        assert (await client.get("/v1/agents")).status_code == 401
        assert (await client.get("/health/live")).status_code == 200
    async with doors.caller(token) as client:
        assert (await client.get("/v1/agents")).status_code == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace("qm_", ""),
        lambda token: "qm__",
        lambda token: "",
        lambda token: "\x00",
        lambda token: token + "x",
        lambda token: token * 50,
    ],
)
async def test_wrong_tokens_open_nothing(doors, spoil):
    token = await doors.make_token("mine", "admin")
    async with doors.caller(spoil(token)) as client:
        answer = await client.get("/v1/agents")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_token_is_refused_where_none_is_needed(doors):
    async with doors.caller("qm_000000000000_wrong") as client:
        assert (await client.get("/v1/agents")).status_code == 401


async def test_other_schemes_are_refused(doors):
    token = await doors.make_token("mine", "admin")
    async with doors.caller(Authorization=f"Basic {token}") as client:
        assert (await client.get("/v1/agents")).status_code == 401


async def test_tokens_expire_and_are_revoked(database):
    async with database.write() as connection:
        until = NOW + timedelta(days=1)
        make = access_tokens.create_token
        text = await make(connection, "a", [Scope.TRAIN], now=NOW, expires_at=until)
        prove = access_tokens.prove_token
        found = await prove(connection, text, now=NOW)
        assert (found.name, found.scopes, found.last_used_at) == ("a", (Scope.TRAIN,), None)
        assert await prove(connection, text, now=until) is None
        assert await access_tokens.has_tokens(connection)
        await access_tokens.note_use(connection, found, now=NOW)
        assert not access_tokens.is_use_worth_noting(
            await prove(connection, text, now=NOW), NOW + timedelta(seconds=59)
        )
        await access_tokens.revoke_token(connection, "a", now=NOW)
        assert await prove(connection, text, now=NOW) is None
        assert not await access_tokens.has_tokens(connection)
        await make(connection, "a", [Scope.TRAIN], now=NOW)  # the name is free again
        rows = (await connection.execute(select(access.access_token))).all()
    assert text not in str(rows)
    assert text.split("_", 2)[2] not in str(rows)


@pytest.mark.parametrize(
    ("name", "scopes", "until"),
    [("", ["train"], None), ("a\n", ["train"], None), ("a", [], None), ("a", ["train"], NOW)],
)
async def test_tokens_that_make_no_sense_are_refused(tmp_path, name, scopes, until):
    database = await open_database(tmp_path / "q.sqlite")
    async with database.write() as connection:
        with pytest.raises(ConfigError, match=r"name|opens nothing|expires_at"):
            await access_tokens.create_token(connection, name, scopes, now=NOW, expires_at=until)
    await database.aclose()


async def test_the_audit_log_shows_when_a_line_was_changed_or_removed(database):
    line = audit_log.AuditLine(at=NOW, who="w" * 500, action="a", target="t", outcome="200")
    async with database.write() as connection:
        assert await audit_log.find_break(connection) is None
        for _ in range(3):
            await audit_log.add_audit(connection, line)
        assert await audit_log.find_break(connection) is None
        newest = (await audit_log.list_audit(connection, limit=1))[0]
        assert (newest.who, newest.at) == ("w" * 120, NOW)
        table = access.audit
        middle = table.c.seq == newest.seq - 1
        await connection.execute(update(table).where(middle).values(target="other"))
        assert await audit_log.find_break(connection) == newest.seq - 1
        await connection.execute(delete(table).where(middle))
        assert await audit_log.find_break(connection) == newest.seq
        await connection.execute(delete(table).where(table.c.seq > newest.seq - 2))
        assert await audit_log.find_break(connection) is not None  # the end was cut off


async def test_changes_are_written_down_with_who_and_what(doors):
    trainer = await doors.make_token("ci", "train")
    admin = await doors.make_token("boss", "admin")
    async with doors.caller(trainer) as client:
        job = (await client.post("/v1/jobs", json={"config": {"seed": 1}})).json()
        await client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (await client.post("/v1/jobs", json={"config": {"sead": 1}})).status_code == 422
        assert (await client.get("/v1/audit")).status_code == 403
    async with doors.caller(admin) as client:
        page = (await client.get("/v1/audit", params={"limit": 2})).json()
        rest = (await client.get("/v1/audit", params={"before": page["next"]})).json()
        check = (await client.get("/v1/audit/check")).json()
    lines = [*page["lines"], *rest["lines"]]
    assert {line["who"] for line in lines} == {"token:ci"}
    assert [(line["action"], line["target"], line["outcome"]) for line in reversed(lines)] == [
        ("POST /v1/jobs", f"/v1/jobs/{job['id']}", "202"),
        ("POST /v1/jobs/{job_id}/cancel", f"/v1/jobs/{job['id']}/cancel", "200"),
        ("POST /v1/jobs", "/v1/jobs", "422"),
    ]
    assert check == {"is_whole": True, "broken_at": None}
    assert admin not in str(lines)


async def test_callers_without_a_token_leave_no_line(doors):
    await doors.make_token("boss", "admin")
    async with doors.caller() as client:
        assert (await client.post("/v1/jobs", json={})).status_code == 401
    async with doors.application.database.read() as connection:
        assert await audit_log.list_audit(connection) == []


async def test_a_proof_holds_for_a_second_and_what_is_wrong_is_not_remembered(database):
    clock = ManualClock(NOW)
    callers = Callers(database, clock, is_open=True)
    assert (await callers.find(None)).name == "local"
    async with database.write() as connection:
        text = await access_tokens.create_token(connection, "a", [Scope.TRAIN], now=NOW)
    assert (await callers.find(None)).name == "local"  # within the second
    assert await callers.find("qm_x_y") is None
    assert (await callers.find(text)).name == "token:a"
    async with database.write() as connection:
        await access_tokens.revoke_token(connection, "a", now=NOW)
        again = await access_tokens.create_token(connection, "b", [Scope.TRAIN], now=NOW)
    clock.advance(0.9)
    assert (await callers.find(text)).name == "token:a"
    clock.advance(0.1)
    assert await callers.find(text) is None
    assert await callers.find(None) is None
    assert (await callers.find(again)).scopes == {Scope.TRAIN}
    closed = Callers(database, clock, is_open=False)
    assert await closed.find(None) is None
    assert text not in repr(vars(callers))


class Away:
    """A database that can be told to go away."""

    def __init__(self, database):
        self.is_away, self.asked, self._database = False, 0, database

    def read(self):
        self.asked += 1
        if self.is_away:
            raise DatabaseError("away")
        return self._database.read()

    def write(self):
        return self._database.write()


async def test_who_was_proved_is_known_in_an_outage_for_a_while(database):
    async with database.write() as connection:
        text = await access_tokens.create_token(connection, "a", [Scope.INVOKE], now=NOW)
    clock, away = ManualClock(NOW), Away(database)
    callers = Callers(away, clock, is_open=True)
    assert (await callers.find(text)).name == "token:a"
    away.is_away, away.asked = True, 0
    clock.advance(1.5)
    for _ in range(3):
        assert (await callers.find(text)).name == "token:a"
    assert away.asked == 1, "once a second, however many ask"
    for unknown in ("qm_x_y", None):
        with pytest.raises(DatabaseError):
            await callers.find(unknown)
    clock.advance(OUTAGE_SECONDS - 2)
    assert (await callers.find(text)).name == "token:a"
    clock.advance(1.0)
    with pytest.raises(DatabaseError):
        await callers.find(text)
    away.is_away = False
    async with database.write() as connection:
        await access_tokens.revoke_token(connection, "a", now=NOW)
    assert await callers.find(text) is None
    away.is_away = True
    with pytest.raises(DatabaseError):  # what was refused is known no longer
        await callers.find(text)


@pytest.mark.slow
async def test_agents_and_metrics_answer_while_the_server_of_the_database_is_away(tmp_path):
    with open_server() as server:
        async with open_doors(tmp_path, database=server.url, versions=1) as doors:
            token = await doors.make_token("a", "invoke")
            async with forgetful(doors).caller(token) as client:
                ask = f"/v1/agents/{AGENT}:invoke"
                first = await client.post(ask, json=REQUEST)
                assert first.status_code == 200, first.text
                await anyio.to_thread.run_sync(server.stop)
                paths = ("/metrics", "/health/ready")
                try:
                    again = await client.post(ask, json=REQUEST)
                    codes = [(await client.get(path)).status_code for path in paths]
                finally:
                    await anyio.to_thread.run_sync(server.start)
                assert again.status_code == 200, again.text
                assert again.json()["services"] == first.json()["services"]
                assert codes == [200, 503]


def run(tmp_path, *words):
    return CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words])


def test_commands_make_list_and_revoke(tmp_path, restored_logging):
    made = run(tmp_path, "tokens", "create", "ci", "--scope", "train", "--expires-days", "30")
    token = made.stdout.strip()
    assert re.fullmatch(r"qm_[0-9a-f]{12}_[\w-]{43}", token)
    again = run(tmp_path, "tokens", "create", "ci", "--scope", "train")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    (listed,) = json.loads(run(tmp_path, "tokens", "list", "--json").stdout)
    assert (listed["name"], listed["scopes"], listed["last_used_at"]) == ("ci", ["train"], None)
    assert "valid until" in run(tmp_path, "tokens", "list").stdout
    assert "the last" in run(tmp_path, "tokens", "revoke", "ci").stdout
    assert "revoked" in run(tmp_path, "tokens", "list").stdout
    assert run(tmp_path, "tokens", "revoke", "ci").exit_code == 2
    assert token not in "".join(
        path.read_bytes().decode("latin-1") for path in tmp_path.glob("*.sqlite*")
    )


async def test_a_public_address_wants_a_token_first(tmp_path):
    settings = Settings(var=tmp_path, host="0.0.0.0", port=0, allowed_hosts=("train.example",))
    with pytest.raises(ConfigError, match="tokens create"):
        await serve(settings, announce=pytest.fail)


@pytest.mark.parametrize(
    ("host", "words"),
    [("0.0.0.0", "allowed_hosts"), ("example.com", "IP address"), ("", "IP address")],
)
def test_hosts_that_cannot_be(tmp_path, host, words):
    with pytest.raises(ConfigError, match=words):
        Settings(var=tmp_path, host=host)


async def test_a_public_server_answers_to_its_names_only(tmp_path):
    settings = {"host": "192.0.2.1", "allowed_hosts": ("train.example",)}
    async with open_doors(tmp_path, **settings) as found:
        doors = forgetful(found)
        async with doors.caller() as client:  # no token yet: closed all the same
            assert (await client.get("/v1/agents")).status_code == 401
        token = await doors.make_token("mine", "invoke")
        for host, status in [
            ("train.example:8321", 200),
            ("192.0.2.1", 200),
            ("evil.example", 403),
            ("train.example.evil", 403),
        ]:
            async with doors.caller(token, host=host) as client:
                assert (await client.get("/v1/agents")).status_code == status
        origin = {"host": "train.example", "origin": "https://train.example"}
        async with doors.caller(token, **origin) as client:
            assert (await client.get("/v1/agents")).status_code == 200
