"""How a challenger comes into use: canary, second answers, regret, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from console.agents_acting import act
from console.agents_trials import (
    agreement_words,
    answer_rows,
    arm_rows,
    draw_answers,
    gate_rows,
    limit_rows,
    plan_words,
    trial_words,
)
from console.server import ask
from console.showing import figure, plain, told
from orchestration.client.client import Client
from orchestration.client.errors import NotFoundError
from orchestration.endpoints.rollout_routes import USUAL, Limits, SecondAnswer
from orchestration.feedback.regret import RegretReport
from orchestration.orchestrator import AgentSummary
from orchestration.rollout.figures import TrialFigures
from orchestration.rollout.gate import GateResult
from orchestration.rollout.plan import CanaryPlan

REPLAYED = 200


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What the server says of an agent's versions on their way."""

    plan: CanaryPlan | None
    trial: TrialFigures | None
    answers: Sequence[SecondAnswer]
    gate: Sequence[GateResult]


def show(agent: AgentSummary) -> None:
    """Draw the canary, the second answers and the gate.

    Args:
        agent: Whose.
    """
    found = ask(lambda client: _look(client, agent.name))
    _show_canary(agent, found)
    _show_start(agent)
    _show_second_answers(found.answers)
    _show_regret(agent)
    _show_gate(agent, found.gate)


async def _look(client: Client, name: str) -> Rollout:
    try:
        plan = await client.rollouts.canary(name)
    except NotFoundError:  # it never had one
        plan = None
    return Rollout(
        plan=plan,
        trial=(await client.supervision.standing(name)).trial,
        answers=await client.rollouts.second_answers(name),
        gate=await client.rollouts.gate_results(name),
    )


def _show_canary(agent: AgentSummary, found: Rollout) -> None:
    st.subheader("Canary")
    if found.plan is None:
        st.markdown("There was none yet: all requests go to the champion.")
        return
    st.markdown(plain(plan_words(found.plan)))
    if found.trial is not None:
        st.dataframe(arm_rows(found.trial), hide_index=True, key="agents_arms")
        words = trial_words(found.plan, found.trial)
        (st.error if found.trial.verdict else st.info)(plain(words))
    with st.expander("Limits"):
        st.dataframe(limit_rows(found.plan), hide_index=True, key="agents_limits")
    if found.plan.state != "running":
        return
    with st.form("agents_canary_end"):
        reason = st.text_input("Why it ends, for the history", key="agents_stop_reason")
        if st.form_submit_button("Stop the canary", key="agents_stop"):
            act(
                lambda client: client.rollouts.stop_canary(agent.name, reason=reason),
                lambda plan: f"The canary of version {plan.version} is over.",
            )


def _show_start(agent: AgentSummary) -> None:
    with st.expander("Begin a canary, or change its share"), st.form("agents_canary"):
        numbers = [one.version for one in reversed(agent.versions) if one.version != agent.champion]
        version = st.selectbox("Challenger", numbers, key="agents_canary_version")
        share = st.slider("Share of the request keys, %", 0, 100, 10, key="agents_share")
        reason = st.text_input("Why, for the history", key="agents_canary_reason")
        limits = _ask_limits()
        if not st.form_submit_button("Begin", key="agents_begin", disabled=not numbers):
            return
    act(
        lambda client: client.rollouts.start_canary(
            agent.name, share=share / 100, version=version, limits=limits, reason=reason
        ),
        lambda plan: f"Version {plan.version} gets {plan.share:.0%} of the request keys.",
    )


def _ask_limits() -> Limits:
    st.markdown("The trial ends by itself where the challenger exceeds one of these beyond doubt:")
    columns = [*st.columns(4), *st.columns(3)]
    window = columns[0].number_input(
        "Requests judged", 1, 10_000, USUAL.window, key="agents_window"
    )
    fewest = columns[1].number_input(
        "Fewest for a verdict", 1, 10_000, USUAL.fewest, key="agents_fewest"
    )
    errors = columns[2].number_input(
        "Errors above the champion's, %", 0.0, 99.0, USUAL.most_errors * 100, key="agents_errors"
    )
    fallbacks = columns[3].number_input(
        "Fallbacks above, %", 0.0, 99.0, USUAL.most_fallbacks * 100, key="agents_fallbacks"
    )
    slowdown = columns[4].number_input(
        "Slower than the champion, times", 1.0, 1e6, USUAL.most_slowdown, key="agents_slowdown"
    )
    slack = columns[5].number_input(
        "And by milliseconds", 0.0, 1e6, USUAL.slack_seconds * 1e3, key="agents_slack"
    )
    regret = columns[6].number_input(
        "Regret above, %", 0.0, 200.0, USUAL.most_regret * 100, key="agents_most_regret"
    )
    return Limits(
        window=window,
        fewest=fewest,
        most_errors=errors / 100,
        most_fallbacks=fallbacks / 100,
        most_slowdown=slowdown,
        slack_seconds=slack / 1e3,
        most_regret=regret / 100,
    )


def _show_second_answers(answers: Sequence[SecondAnswer]) -> None:
    st.subheader("Second answers")
    if not answers:
        st.markdown(
            "None yet. Promote a version to *shadow*, or run a canary: what one version answers is "
            "then put to the other, behind the caller's back."
        )
        return
    rows = answer_rows(answers)
    figure(draw_answers(rows), rows, agreement_words(answers), key="agents_second")


def regret_words(report: RegretReport) -> str:
    """Say what the expert would have done better.

    Args:
        report: Of a replay.
    """
    if report.mean is None:
        return "No kept request could be played again: its domain has no figure for worth."
    said = f"The expert would have gained {report.mean:+.4g} a decision"
    if report.low is not None and report.high is not None:
        said += f" (95 % interval {report.low:+.4g} to {report.high:+.4g})"
    return (
        f"{said}, over {report.num_decisions} decisions, {report.num_realised} of them by what "
        f"really came; {report.num_skipped} were skipped."
    )


def _show_regret(agent: AgentSummary) -> None:
    st.subheader("Regret against the expert")
    if st.button(f"Play the last {REPLAYED} kept requests again", key="agents_replay"):
        with told(), st.spinner("Playing"):
            report = ask(lambda c: c.supervision.replay_regret(agent.name, limit=REPLAYED))
            st.info(regret_words(report))


def _show_gate(agent: AgentSummary, results: Sequence[GateResult]) -> None:
    st.subheader("The gate")
    challenger = agent.aliases.get("challenger")
    with st.form("agents_gate"):
        st.markdown(
            f"Challenger is version {challenger or 'none'}. It must beat the champion and the "
            "tuned expert on held-out scenarios, and break no limit."
        )
        reason = st.text_input("Why, for the history", key="agents_gate_reason")
        force = st.text_input(
            "Let it through all the same, because (leave empty to obey the gate)",
            key="agents_force",
        )
        if st.form_submit_button(
            "Promote the challenger", key="agents_pass", disabled=not challenger
        ):
            act(
                lambda client: client.rollouts.promote_challenger(
                    agent.name, force_because=force or None, reason=reason
                ),
                lambda result: f"{agent.name}: champion is version {result.version} now.",
            )
    if results:
        st.dataframe(gate_rows(results), hide_index=True, key="agents_gate_results")
