"""Profiles: how much data, which backbone and how much training a result stands for.

Results of different profiles never share a table. The number of events of each split is stated by the data-set
card, under the profile's name.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nubench.errors import unknown_name


class Profile(BaseModel):
    """One budget.

    Attributes:
        name, title: for listings.
        backbone: preset of the shared network.
        seeds: number of seeds that a complete entry of a leaderboard has.
        views: event views that one training shows to the backbone; the same for every method, so that a
            contrastive method, which shows two views of an event, sees half as many events.
        batch_size: views a step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    backbone: str
    seeds: int = Field(ge=1)
    views: int = Field(ge=1)
    batch_size: int = Field(ge=1)


def recorded_settings(profile: Profile, sizes: BaseModel) -> dict[str, Any]:
    """What results say of a budget.

    Args:
        profile: the budget.
        sizes: events of each split, as the card of the data set states them for it.
    """
    return {**profile.model_dump(), "sizes": sizes.model_dump()}


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            title="first contact and continuous integration: 2 CPU cores, minutes, data included",
            backbone="tiny",
            seeds=3,
            views=80_000,
            batch_size=128,
        ),
        Profile(
            name="laptop",
            title="2 CPU cores, up to 30 minutes a training; accuracies start to mean something",
            backbone="tiny",
            seeds=3,
            views=600_000,
            batch_size=128,
        ),
        Profile(
            name="standard",
            title="one GPU, minutes a training; or a CPU over night",
            backbone="small",
            seeds=5,
            views=6_000_000,
            batch_size=256,
        ),
        Profile(
            name="paper",
            title="the published sizes (arXiv:2502.07724): dims 96 to 768, batches of 672",
            backbone="paper",
            seeds=5,
            views=40_000_000,
            batch_size=672,
        ),
    )
}


def profile_called(name: str) -> Profile:
    """Find a profile.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
