"""Settings of QMIX for the particle worlds of mpe2, 300,000 joint steps.

From EPyMARL: mixer of 32 units, hypernetworks of 64, double Q, epsilon 1 to 0.05 over 50,000 steps,
rewards standardised, learning rate 5e-4. Ours: two layers of 128 without memory, 256 steps in
a batch, and a batch for every step of the eight copies. Speaker and listener are unlike: what they
observe and may choose is padded and masked, and both share one network that is told who asks.
Spread's episodes never end, they are cut, and its places reach far: with a discount of .99 or .95
and a target that jumps, values outgrow what can be earned, until the team plays worse than by
chance; with .9 and a soft target they do not.
"""

from __future__ import annotations

from dataclasses import replace

from rl.algorithms.qmix_config import QMIXConfig

COPIES = 8

SIMPLE_SPEAKER_LISTENER = QMIXConfig(
    hidden_dims=(128, 128),
    standardize_rewards=True,
    buffer_size=100_000,
    batch_size=256,
    target_update_frequency=200,
)

SIMPLE_SPREAD = replace(SIMPLE_SPEAKER_LISTENER, gamma=0.9, target_update_frequency=1, tau=0.005)

CONFIGS = {"spread": SIMPLE_SPREAD, "speaker_listener": SIMPLE_SPEAKER_LISTENER}
