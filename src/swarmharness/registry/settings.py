"""The constants of the registry service as one frozen value; it reads no file."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.registry.advert import CLOCK_SKEW_S_MAX
from swarmharness.registry.directory import CALM_MOST, EVICT_AFTER_REFRESHES, DirectorySettings


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What an operator (the first two) or a test can tune."""

    refresh_s: float = 60.0
    """T_refresh: adverts and provider records are renewed this often, jittered; three times as long is silence."""
    peers_per_skill_max: int = 128
    peers_max: int = 512
    fetch_timeout_s: float = 5.0
    """For asking one node for its advert, dialling included."""
    fetches_max: int = 16
    """Nodes asked at a time."""
    find_peers_max: int = 8
    """Connected nodes that a look-up asks."""
    providers_max: int = 32
    """Provider records that a look-up follows."""
    gather_s: float = 0.2
    """The first look-up of a skill goes on for so long even if somebody is known, so that there is a choice."""
    look_up_timeout_s: float = 5.0
    """How long a caller waits for the first answer."""
    look_up_interval_s: float = 15.0
    """A skill in use is looked up again this often, so that nodes that came later are found, until enough are known."""
    enough_peers: int = 24
    """See `DirectorySettings.enough`."""
    join_first_s: float = 0.5
    """The first pause between attempts to join; it doubles up to `join_most_s`."""
    join_most_s: float = 30.0
    save_interval_s: float = 5.0
    """How often remembered peers are written, if they changed."""

    @property
    def lifetime_s(self) -> int:
        """How long an advert is valid: until it is asked for again or evicted, and the most that clocks may differ."""
        return int(self.refresh_s * max(EVICT_AFTER_REFRESHES, CALM_MOST + 1)) + CLOCK_SKEW_S_MAX

    @property
    def directory(self) -> DirectorySettings:
        """The settings of the pure part."""
        enough = min(self.enough_peers, self.peers_per_skill_max)  # who may remember no more would search for ever
        return DirectorySettings(round(self.refresh_s * 1e6), self.peers_per_skill_max, self.peers_max, enough)
