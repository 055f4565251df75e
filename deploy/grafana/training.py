"""What a run learns, and which stage it plays."""

from __future__ import annotations

from deploy.grafana.business import BUSINESS
from deploy.grafana.panel import ENVIRONMENT, RUN, RUN_CHOICE, Board, Panel, of_run

TRAINING = Board(
    uid="qm-training",
    title="Quartermaster: training run",
    about="What a run learns, how its updates behave, and what it would lose.",
    variables=(ENVIRONMENT, RUN_CHOICE),
    rows={
        "Learning": (
            of_run("Return", "rl_episode_return", "Mean of the episodes that ended."),
            Panel(
                title="Evaluation",
                about="On validation scenarios, with its interval, beside expert and bound.",
                unit="short",
                series={
                    "policy": f"rl_evaluation_score{RUN}",
                    "low": f"rl_evaluation_score_low{RUN}",
                    "high": f"rl_evaluation_score_high{RUN}",
                    "expert": f"rl_evaluation_expert_score{RUN}",
                    "bound": f"rl_evaluation_bound_score{RUN}",
                },
            ),
            of_run("Episode length", "rl_episode_length_steps", "In steps."),
            Panel(
                title="The world's own figures",
                about="Such as lost work or the fill rate, in the world's units.",
                unit="short",
                series={"{{figure}}": f"rl_environment_figure{RUN}"},
            ),
        ),
        "Business": BUSINESS,
        "Updates": (
            of_run("Policy loss", "rl_policy_loss", "Of the last update; its level means little."),
            Panel(
                title="Value loss, explained variance",
                about="The critic: variance explained should rise towards 1.",
                unit="short",
                may_be_empty=True,
                series={
                    "loss": f"rl_value_loss{RUN}",
                    "explained": f"rl_explained_variance{RUN}",
                },
            ),
            Panel(
                title="Divergence",
                about="Of the policy from the one that collected, in nats; near 0.01 is usual.",
                unit="short",
                may_be_empty=True,
                warn=0.05,
                alarm=0.1,
                series={"{{run}}": f"rl_kl_divergence{RUN}"},
            ),
            Panel(
                title="Clipped samples",
                about="Share; above a third updates are too large.",
                unit="percentunit",
                may_be_empty=True,
                series={"{{run}}": f"rl_clip_fraction{RUN}"},
            ),
            Panel(
                title="Entropy",
                about="Of the policy, in nats; a sudden fall means that it stops exploring.",
                unit="short",
                may_be_empty=True,
                series={"{{run}}": f"rl_policy_entropy{RUN}"},
            ),
            of_run("Gradient norm", "rl_gradient_norm", "Before it was clipped."),
            of_run("Learning rate", "rl_learning_rate", "Of the optimiser."),
            Panel(
                title="Action values",
                about="Of agents that learn from a replay.",
                unit="short",
                may_be_empty=True,
                series={
                    "q": f"rl_q_value{RUN}",
                    "loss": f"rl_td_loss{RUN}",
                    "error, 90 %": f"rl_td_error_p90{RUN}",
                },
            ),
            Panel(
                title="Exploration and replay",
                about="Share of random actions, weight of the entropy, and how full the replay is.",
                unit="short",
                may_be_empty=True,
                series={
                    "random": f"rl_exploration_ratio{RUN}",
                    "temperature": f"rl_entropy_temperature{RUN}",
                    "replay": f"rl_replay_fill_ratio{RUN}",
                },
            ),
        ),
        "Safety": (
            Panel(
                title="Heartbeat age",
                about="Since the run last reported; TrainingStalled fires at two minutes.",
                unit="s",
                series={"{{run}}": "run:heartbeat_age:seconds"},
                warn=30,
                alarm=120,
            ),
            Panel(
                title="Checkpoint age",
                about="Work that would be repeated if the run were lost now.",
                unit="s",
                series={"{{run}}": "run:checkpoint_age:seconds"},
                warn=1800,
                alarm=3600,
            ),
            of_run("Checkpoint size", "rl_checkpoint_size_bytes", "Of the newest.", "bytes"),
            Panel(
                title="Not finite",
                about="Figures that were left out, and ways back to a checkpoint.",
                unit="short",
                series={
                    "figures": f"increase(rl_not_finite_total{RUN}[5m])",
                    "rollbacks": f"rl_rollbacks{RUN}",
                },
                alarm=1,
            ),
            Panel(
                title="Steps and episodes",
                about="In all.",
                unit="short",
                series={
                    "steps": f"rl_env_steps_total{RUN}",
                    "episodes": f"rl_episodes_total{RUN}",
                },
            ),
            of_run("Speed", "rl_env_steps_per_second", "Steps a second, learning included."),
        ),
    },
)

CURRICULUM = Board(
    uid="qm-curriculum",
    title="Quartermaster: curriculum and evaluation",
    about="Which stage is played, for how long, and whether the policy has passed its expert.",
    variables=(ENVIRONMENT, RUN_CHOICE),
    rows={
        "Stages": tuple(
            Panel(title=title, about=about, unit=unit, may_be_empty=True, series=series)
            for title, about, unit, series in (
                (
                    "Stage",
                    "Number of the stage that is played, of how many.",
                    "short",
                    {"stage": f"rl_stage_number{RUN}", "of": f"rl_stages{RUN}"},
                ),
                (
                    "Way to the next stage",
                    "Share of its scenarios that are mixed in.",
                    "percentunit",
                    {"{{run}}": f"rl_stage_difficulty_ratio{RUN}"},
                ),
                (
                    "Steps in this stage",
                    "CurriculumStuck fires where they are more than half of all.",
                    "short",
                    {"{{run}}": f"rl_stage_env_steps{RUN}"},
                ),
                (
                    "Moves",
                    "Up and down since the run began.",
                    "short",
                    {"up": f"rl_stage_promotions{RUN}", "down": f"rl_stage_regressions{RUN}"},
                ),
            )
        ),
        "Evaluation": (
            Panel(
                title="Lead over the expert",
                about="On validation scenarios; above zero the policy is better.",
                unit="short",
                series={"{{run}}": "run:lead_over_expert"},
            ),
            Panel(
                title="Return, ten minutes",
                about="Mean; ReturnCollapsed fires below half of the best of six hours.",
                unit="short",
                series={"{{run}}": "run:return:mean10m"},
            ),
        ),
    },
)
