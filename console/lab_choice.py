"""What one chooses of a world and of who decides in it: sliders and lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from console.server import ask
from console.showing import plain
from orchestration.client.errors import ApiError
from orchestration.endpoints.session_play_routes import DeciderRequest
from orchestration.endpoints.session_routes import AgentView, SessionView
from orchestration.endpoints.world_routes import SizeView, WorldView

SLIDERS = 24
"""More numbers than these are typed into a table."""
COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class AgentOffer:
    """A registered agent, and whether it can decide in a world."""

    name: str
    domain: str
    version: int | None
    why_not: str
    """Empty where it fits."""


def choose_world(worlds: Sequence[WorldView], *, key: str) -> WorldView:
    """Let a world be chosen; the address of the page keeps it.

    Args:
        worlds: Of the server.
        key: Of the page.
    """
    by_name = {world.name: world for world in worlds}
    asked = st.query_params.get("world", "")
    names = list(by_name)
    name = st.selectbox(
        "World",
        names,
        index=names.index(asked) if asked in by_name else 0,
        format_func=lambda one: one.replace("_", " "),
        key=f"{key}-world",
    )
    st.query_params["world"] = name
    world = by_name[name]
    st.caption(f"Decided here: {world.about}.")
    return world


def choose_sizes(world: WorldView, *, key: str) -> tuple[int, dict[str, float | str]]:
    """Let seed and sizes be chosen.

    Args:
        world: Whose.
        key: Of the page.

    Returns:
        The seed, and the sizes that differ from the usual ones.
    """
    columns = st.columns(COLUMNS)
    with columns[0]:
        seed = st.number_input(
            "Seed", min_value=0, max_value=2**31 - 1, value=0, step=1, key=f"{key}-seed"
        )
    chosen: dict[str, float | str] = {}
    for number, size in enumerate(world.sizes, 1):
        with columns[number % COLUMNS]:
            value = _choose_size(size, key=f"{key}-{world.name}-{size.name}")
        if value != size.default:
            chosen[size.name] = value
    return int(seed), chosen


def _choose_size(size: SizeView, *, key: str) -> float | str:
    label = size.name.removeprefix("num_").replace("_", " ").capitalize()
    if size.options:
        return str(
            st.selectbox(
                label,
                size.options,
                index=size.options.index(str(size.default)),
                help=size.about,
                key=key,
            )
        )
    if size.is_whole:
        return int(
            st.slider(
                label,
                int(size.low),
                int(size.high),
                int(float(size.default)),
                help=size.about,
                key=key,
            )
        )
    return float(
        st.slider(label, size.low, size.high, float(size.default), help=size.about, key=key)
    )


def find_agents(world: WorldView) -> list[AgentOffer]:
    """Return the registered agents, and of each whether it decides in a world.

    Args:
        world: Which.
    """
    offers = []
    for agent in ask(lambda client: client.agents.list()):
        name = agent.name
        try:
            card = ask(lambda client: client.agents.card(name))  # noqa: B023
        except ApiError as error:
            offers.append(AgentOffer(name=name, domain="", version=None, why_not=error.detail))
            continue
        domain = str(card["domain"])
        fits = domain in world.played_by
        why = "" if fits else f"{name} decides in {domain}, not in {world.name}"
        offers.append(AgentOffer(name=name, domain=domain, version=agent.champion, why_not=why))
    return offers


def choose_agent(world: WorldView, *, key: str) -> DeciderRequest | None:
    """Let a registered agent be chosen that fits a world; say plainly why others do not.

    Args:
        world: Which.
        key: Of the page.
    """
    offers = find_agents(world)
    fitting = [offer for offer in offers if not offer.why_not]
    others = [offer.why_not for offer in offers if offer.why_not]
    if others:
        st.caption(f"Not offered: {plain('; '.join(others))}.")
    if not fitting:
        st.info(
            f"No registered agent decides in {world.name}. It would be played by agents of "
            f"{' or '.join(world.played_by)}: train one on the page Submit and promote it."
        )
        return None
    name = st.selectbox("Agent", [offer.name for offer in fitting], key=f"{key}-agent")
    return DeciderRequest(kind="agent", name=name)


def choose_actions(session: SessionView, info: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """Let a person decide for every agent: a slider per number, or a choice.

    Args:
        session: Who acts, and what they may do.
        info: Of the newest step, by agent; says which choices there are.
        key: Of the page.
    """
    actions: dict[str, Any] = {}
    amounts = {name: one for name, one in session.agents.items() if one.action.kind != "discrete"}
    for name in session.agents:
        if name not in amounts:
            actions[name] = _choose_one(name, session.agents[name], info.get(name), key=key)
    if sum(one.action.size for one in amounts.values()) > SLIDERS:
        return actions | _type_amounts(amounts, key=key)
    columns = st.columns(COLUMNS)
    place = 0
    for name, agent in amounts.items():
        values = []
        for number in range(agent.action.size):
            with columns[place % COLUMNS]:
                values.append(
                    st.slider(
                        label_of(name, agent, number, len(amounts)),
                        float(agent.action.low),
                        float(agent.action.high),
                        float(max(agent.action.low, 0.0)),
                        key=f"{key}-action-{name}-{number}",
                    )
                )
            place += 1
        actions[name] = values
    return actions


def _choose_one(name: str, agent: AgentView, info: Any, *, key: str) -> int:
    mask = None if info is None else info.action_mask
    allowed = [n for n in range(agent.action.size) if mask is None or mask[n]]
    return int(
        st.selectbox(
            f"Choice of {name}",
            allowed or [0],
            format_func=lambda number: agent.labels[number] if agent.labels else str(number),
            key=f"{key}-choice-{name}",
        )
    )


def label_of(name: str, agent: AgentView, number: int, count: int) -> str:
    """Return what one number of an action is called.

    Args:
        name: Of the agent.
        agent: It.
        number: Which of its numbers.
        count: Agents that set amounts; a single one need not be named.
    """
    label = agent.labels[number] if agent.labels else f"number {number + 1}"
    return label if count == 1 and agent.labels else f"{name} · {label}"


def _type_amounts(agents: Mapping[str, AgentView], *, key: str) -> dict[str, Any]:
    low = min(one.action.low for one in agents.values())
    high = max(one.action.high for one in agents.values())
    st.caption(f"Amounts from {low:g} to {high:g}, one line per number.")
    rows: list[dict[str, Any]] = [
        {
            "agent": name,
            "number": agent.labels[number] if agent.labels else str(number + 1),
            "amount": max(agent.action.low, 0.0),
        }
        for name, agent in agents.items()
        for number in range(agent.action.size)
    ]
    typed: list[dict[str, Any]] = st.data_editor(
        rows,
        hide_index=True,
        disabled=["agent", "number"],
        column_config={
            "amount": st.column_config.NumberColumn(min_value=low, max_value=high, required=True)
        },
        key=f"{key}-amounts-{'-'.join(agents)}",
    )
    found: dict[str, Any] = {name: [] for name in agents}
    for row in typed:
        found[row["agent"]].append(float(row["amount"]))
    return found
