"""Write the dashboards as JSON: `python -m deploy.grafana.write`, after every change of them."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from deploy.grafana.agents import AGENTS
from deploy.grafana.engine import ENGINE
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.panel import Board, Panel, Variable
from deploy.grafana.training import CURRICULUM, TRAINING

BOARDS = (OVERVIEW, TRAINING, CURRICULUM, AGENTS, ENGINE)
FOLDER = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
WIDTHS = {"stat": 3, "timeseries": 12}
HEIGHTS = {"stat": 4, "timeseries": 8}


def render(board: Board) -> str:
    """Return a dashboard as Grafana imports it.

    Args:
        board: What it shows.
    """
    source = dashboard.DatasourceVariable("source").label("Data source").type("prometheus")
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["quartermaster"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("Quartermaster")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["quartermaster"])
            .as_dropdown(True)  # noqa: FBT003  the builder's own signature
            .keep_time(True)  # noqa: FBT003
        )
        .with_variable(source)
    )
    for variable in board.variables:
        built = built.with_variable(_variable(variable))
    for heading, panels in board.rows.items():
        built = built.with_row(dashboard.Row(heading))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    whole = built.build()
    for number, drawn in enumerate(whole.panels or (), start=1):
        drawn.id_val = number
    return str(JSONEncoder(sort_keys=True, indent=2).encode(whole)) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.name.capitalize())
        .query(f"label_values({variable.metric}, {variable.name})")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)  # noqa: FBT003
        .multi(True)  # noqa: FBT003
        .all_value(".*")
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    built = stat.Panel() if panel.kind == "stat" else timeseries.Panel()
    built = (
        built.title(panel.title)
        .description(f"{panel.about} ({', '.join(panel.series.values())})")
        .unit(panel.unit)
        .datasource(SOURCE)
        .thresholds(_thresholds(panel))
        .span(WIDTHS[panel.kind])
        .height(HEIGHTS[panel.kind])
    )
    for legend, query in panel.series.items():
        built = built.with_target(
            prometheus.Dataquery().expr(query).legend_format(legend).datasource(SOURCE)
        )
    return built


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    for value, color in ((panel.warn, "orange"), (panel.alarm, "red")):
        if value is not None:
            steps.append(Threshold(value=value, color=color))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def main() -> None:
    """Write all dashboards."""
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(render(board))


if __name__ == "__main__":
    main()
