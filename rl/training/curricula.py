"""The three curricula as data: five stages of trading, three each of supply chain and allocation.

The numbers are those of the promised tables; docs/training/curriculum.md says what each parameter
moves in its world, and which ones had to be read freely.
"""

from __future__ import annotations

from rl.training.curriculum_stage import Criterion, CurriculumStage, DifficultyLevel, Parameter

Stages = tuple[CurriculumStage, ...]


def create_trading_curriculum() -> Stages:
    """Return five stages: more symbols, wilder markets, higher fees, larger positions."""
    rows = (
        ("basic_trading", DifficultyLevel.BEGINNER, 2, 0.10, "sideways", 1e-4, 0.1, 100, 0.70),
        ("multi_asset_trading", DifficultyLevel.EASY, 5, 0.15, "mixed", 1e-3, 0.3, 150, 0.75),
        ("volatile_markets", DifficultyLevel.MEDIUM, 8, 0.25, "volatile", 1e-3, 0.5, 200, 0.80),
        ("crisis_trading", DifficultyLevel.HARD, 10, 0.40, "crisis", 2e-3, 1.0, 300, 0.80),
        ("master_trader", DifficultyLevel.MASTER, 15, 0.30, "mixed", 2e-3, 1.0, 500, 0.85),
    )
    drawdowns = (0.02, 0.05, 0.08, 0.12, 0.12)
    return tuple(
        CurriculumStage(
            name=name,
            difficulty=level,
            parameters=(
                *_numbers({"num_symbols": symbols, "volatility": volatility}),
                Parameter(name="market_regime", choice=regime),
                *_numbers(
                    {
                        "transaction_cost": fee,
                        "max_position": position,
                        "regime_switching": float(name == "master_trader"),
                    }
                ),
            ),
            success_criteria=(Criterion(figure="drawdown", at_most=drawdown),),
            min_episodes=episodes,
            advancement_threshold=bar,
        )
        for (name, level, symbols, volatility, regime, fee, position, episodes, bar), drawdown in (
            zip(rows, drawdowns, strict=True)
        )
    )


def create_supply_chain_curriculum() -> Stages:
    """Return three stages: more suppliers and products, less certain demand and deliveries."""
    rows = (
        ("simple_chain", DifficultyLevel.BEGINNER, 2, 3, 0.1, 0.0, 0.1, 100, 0.75),
        ("medium_complexity", DifficultyLevel.MEDIUM, 4, 6, 0.2, 0.1, 0.2, 200, 0.80),
        ("complex_network", DifficultyLevel.HARD, 8, 10, 0.3, 0.2, 0.3, 300, 0.80),
    )
    return tuple(
        CurriculumStage(
            name=name,
            difficulty=level,
            parameters=_numbers(
                {
                    "num_suppliers": suppliers,
                    "num_products": products,
                    "demand_variability": demand,
                    "disruption_probability": disruption,
                    "lead_time_variability": lead,
                }
            ),
            success_criteria=(Criterion(figure="fill_rate", at_least=0.9),),
            min_episodes=episodes,
            advancement_threshold=bar,
        )
        for name, level, suppliers, products, demand, disruption, lead, episodes, bar in rows
    )


def create_resource_allocation_curriculum() -> Stages:
    """Return three stages: more services and resources, less capacity, wilder demand, prices."""
    rows = (
        ("basic", DifficultyLevel.BEGINNER, 3, 4, 1000.0, 0.10, 0.5, 0.0),
        ("competitive", DifficultyLevel.MEDIUM, 6, 8, 800.0, 0.25, 0.3, 0.0),
        ("dynamic", DifficultyLevel.HARD, 8, 12, 600.0, 0.40, 0.2, 1.0),
    )
    return tuple(
        CurriculumStage(
            name=name,
            difficulty=level,
            parameters=_numbers(
                {
                    "num_resources": resources,
                    "num_agents": agents,
                    "capacity": capacity,
                    "demand_variability": demand,
                    "fairness": fairness,
                    "dynamic_pricing": pricing,
                }
            ),
            success_criteria=(Criterion(figure="jain_index", at_least=fairness),),
            advancement_threshold=0.9,
        )
        for name, level, resources, agents, capacity, demand, fairness, pricing in rows
    )


def _numbers(values: dict[str, float]) -> tuple[Parameter, ...]:
    return tuple(Parameter(name=name, value=float(value)) for name, value in values.items())
