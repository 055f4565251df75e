"""The page *Environment lab*: open any world, let somebody decide, see what comes of it."""

from __future__ import annotations

import streamlit as st

from console import lab_choice, lab_rows, lab_session
from console.lab_charts import draw_figures, draw_returns, draw_state, draw_terms
from console.lab_session import Lab
from console.showing import figure, plain, told
from orchestration.endpoints.session_play_routes import DeciderRequest
from orchestration.endpoints.world_routes import WorldView

PERSON, EXPERT, RANDOM, AGENT = "A person", "An expert's rule", "Chance", "A registered agent"
MOST_BY_HAND = 100
SHOWN_ARRAYS = 4
TO_THE_END = 10_000


def show() -> None:
    """Draw the page."""
    st.title("Environment lab")
    st.write(
        "Open a world, step it or play it to its end, and watch what it earns beside the expert's "
        "rule in the very same episode."
    )
    with told():
        world = lab_choice.choose_world(lab_session.list_worlds(), key="lab")
        seed, sizes = lab_choice.choose_sizes(world, key="lab")
        _offer_opening(world, seed, sizes)
        lab = lab_session.current()
        if lab is None:
            st.info("Nothing is open. Choose a world and its sizes above, then press Open.")
            return
        _show_lab(lab)


def _offer_opening(world: WorldView, seed: int, sizes: dict[str, float | str]) -> None:
    lab = lab_session.current()
    left, right, _ = st.columns([1, 1, 4])
    label = "Open" if lab is None else "Open anew"
    if left.button(label, type="primary", key="lab-open", width="stretch"):
        with st.spinner("Building the world …"):
            lab_session.open_lab(world, seed=seed, sizes=sizes)
        st.rerun()
    if lab is not None and right.button("Close", key="lab-close", width="stretch"):
        lab_session.leave()
        st.rerun()
    if lab is None or (lab.world.name, lab.seed, lab.sizes) == (world.name, seed, sizes):
        return
    st.caption(
        f"Open is still {_describe(lab)}. What is chosen above counts when you press Open anew."
    )


def _describe(lab: Lab) -> str:
    sizes = "".join(f", {name.replace('_', ' ')} {value}" for name, value in lab.sizes.items())
    return f"{lab.world.name.replace('_', ' ')}, seed {lab.seed}{sizes}"


def _show_lab(lab: Lab) -> None:
    st.header(f"{lab.world.name.replace('_', ' ').capitalize()}: the episode")
    if lab.over:
        _show_over(lab)
    elif lab.has_ended:
        st.success(
            f"The episode has ended after {len(lab.steps)} steps. Press Open anew to play another."
        )
    else:
        with lab_session.noticing(lab):
            _decide(lab)
        if lab.over:
            _show_over(lab)
    if lab.steps:
        _show_numbers(lab)
        _show_charts(lab)
    if not lab.over:
        with lab_session.noticing(lab):
            _show_state(lab)
    if lab.steps:
        _show_trajectory(lab)


def _show_over(lab: Lab) -> None:
    st.warning(
        f"The server no longer keeps this episode: {plain(lab.over)}. What was played is below; "
        "press Open anew to begin it again with the same seed."
    )


def _decide(lab: Lab) -> None:
    who = st.radio("Who decides", [PERSON, EXPERT, RANDOM, AGENT], horizontal=True, key="lab-who")
    if who == PERSON:
        info = lab.steps[-1].info if lab.steps else lab.session.info
        actions = lab_choice.choose_actions(lab.session, info, key=f"lab-{lab.session.id}")
        if steps := _choose_steps(is_by_hand=True):
            lab_session.act(lab, actions, steps=steps)
            st.rerun()
        return
    decider = _choose_decider(lab, who)
    if decider is not None and (steps := _choose_steps(is_by_hand=False)):
        lab_session.play(lab, decider, steps=steps)
        st.rerun()


def _choose_decider(lab: Lab, who: str) -> DeciderRequest | None:
    if who == EXPERT:
        name = st.selectbox("Rule", lab.session.experts, key=f"lab-rule-{lab.world.name}")
        return DeciderRequest(kind="expert", name=name)
    if who == RANDOM:
        return DeciderRequest(kind="random")
    return lab_choice.choose_agent(lab.world, key="lab")


def _choose_steps(*, is_by_hand: bool) -> int:
    count, once, some, end = st.columns([2, 1, 1, 1], vertical_alignment="bottom")
    number = int(count.number_input("Steps at once", 1, MOST_BY_HAND, 10, key="lab-count"))
    if once.button("Step once", key="lab-step", width="stretch"):
        return 1
    if some.button(f"Step {number}", key="lab-steps", width="stretch"):
        return number
    if end.button("Play to the end", key="lab-end", width="stretch", disabled=is_by_hand):
        return TO_THE_END
    return 0


def _show_numbers(lab: Lab) -> None:
    mine = sum(lab_rows.mean_reward(step) for step in lab.steps)
    boxes = st.columns(4)
    boxes[0].metric("Steps", len(lab.steps))
    boxes[1].metric("Return so far", lab_rows.write(mine))
    if lab.expert and len(lab.reference) >= len(lab.steps):
        theirs = sum(value or 0.0 for value in lab.reference[: len(lab.steps)])
        boxes[2].metric(f"Expert ({lab.expert.replace('_', ' ')})", lab_rows.write(theirs))
        boxes[3].metric("Difference", lab_rows.write(mine - theirs))


def _show_charts(lab: Lab) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Return beside the expert's")
        rows = lab_rows.return_rows(lab.steps, lab.reference, lab.expert)
        words = lab_rows.tell_returns(lab.steps, lab.reference, lab.expert)
        figure(draw_returns(rows), rows, words, key="lab-table-returns")
    with right:
        st.subheader("What the reward is made of")
        rows = lab_rows.term_rows(lab.steps)
        figure(draw_terms(rows), rows, lab_rows.tell_terms(lab.steps), key="lab-table-terms")
    charts = [(chart, lab_rows.chart_rows(lab.steps, chart)) for chart in lab.session.charts]
    drawn = [(chart, rows) for chart, rows in charts if rows]
    if not drawn:
        return
    st.subheader("The world, step by step")
    columns = st.columns(2)
    for number, (chart, rows) in enumerate(drawn):
        with columns[number % 2]:
            st.markdown(f"**{chart.title[:1].upper()}{chart.title[1:]}**")
            words = lab_rows.tell_chart(rows, chart)
            figure(draw_figures(rows, chart.unit), rows, words, key=f"lab-table-{chart.title}")


def _show_state(lab: Lab) -> None:
    state = lab_session.look(lab).state
    if not state:
        return
    st.subheader("The state now")
    alone = {name: one.values[0] for name, one in state.items() if len(one.values) == 1}
    several = [name for name, one in state.items() if len(one.values) > 1]
    chosen = st.multiselect(
        "Arrays",
        several,
        default=several[:SHOWN_ARRAYS],
        format_func=lambda name: name.replace("_", " "),
        key=f"lab-arrays-{lab.world.name}",
    )
    columns = st.columns(2)
    for number, name in enumerate(chosen):
        array, rows = state[name], lab_rows.state_rows(state[name])
        shape = " × ".join(map(str, array.shape))  # noqa: RUF001  a sign of size
        known = [value for value in array.values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        words = (
            f"{name.replace('_', ' ')}, {shape} numbers from {lab_rows.write(low)} to "
            f"{lab_rows.write(high)}."
        )
        with columns[number % 2]:
            st.markdown(f"**{name.replace('_', ' ')}**")
            figure(draw_state(rows, array), rows, words, key=f"lab-table-state-{name}")
    if alone:
        st.dataframe(
            [{"what": name.replace("_", " "), "value": value} for name, value in alone.items()],
            hide_index=True,
            key="lab-scalars",
        )


def _show_trajectory(lab: Lab) -> None:
    st.subheader("All steps")
    rows = lab_rows.trajectory_rows(lab.steps)
    st.dataframe(rows, hide_index=True, key="lab-trajectory")
    st.download_button(
        "Download as CSV",
        lab_rows.to_csv(rows),
        file_name=f"{lab.world.name}-seed-{lab.seed}.csv",
        mime="text/csv",
        key="lab-csv",
    )
