"""What the screens show: written on the interface's thread alone, from what the sources said."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gptcore.status import Status

if TYPE_CHECKING:
    from gptstudio.services.counting import Counts
    from gptstudio.services.data_answers import Answer
    from gptstudio.services.datasets import DatasetTree
    from gptstudio.services.hardware import Hardware
    from gptstudio.services.metrics import Metrics
    from gptstudio.services.profiles import ProfileCard
    from gptstudio.services.stage_states import StageState


@dataclass
class State:
    """The latest of every source.

    Attributes:
        runs: Every run, the newest first.
        run_profiles: Name of the profile that each was started with, by run.
        last_words: What failed and lost runs printed last, by run; raw.
        chosen: Name of the run that is shown; empty: there is none.
        overlay: Name of the run drawn over it; empty: none.
        heard_runs: Whether the runs are known yet.
        metrics: Curves by run, of the chosen one and the overlay.
        hardware: GPUs and host.
        datasets: The files under `datasets/`.
        profile: The profile that the next run starts with.
        stages: Whether each of its stages is up to date, by name.
        stages_problem: Why that is not known; empty: it is, or will be.
        answers: What the data worker said last.
        counts: What is in the files that have been counted, by path.
        uncounted: Why a file cannot be counted, by path.
    """

    runs: list[Status] = field(default_factory=list)
    run_profiles: dict[str, str] = field(default_factory=dict)
    last_words: dict[str, list[str]] = field(default_factory=dict)
    chosen: str = ""
    overlay: str = ""
    heard_runs: bool = False
    metrics: "dict[str, Metrics]" = field(default_factory=dict)
    hardware: "Hardware | None" = None
    datasets: "DatasetTree | None" = None
    profile: "ProfileCard | None" = None
    stages: "dict[str, StageState]" = field(default_factory=dict)
    stages_problem: str = ""
    answers: "list[Answer]" = field(default_factory=list)
    counts: "dict[str, Counts]" = field(default_factory=dict)
    uncounted: dict[str, str] = field(default_factory=dict)

    @property
    def newest_of_profile(self) -> Status | None:
        """The newest run of the profile that the next one would start with."""
        name = self.profile.name if self.profile else ""
        return next((run for run in self.runs if self.run_profiles.get(run.run) == name), None)

    @property
    def status(self) -> Status | None:
        """How the chosen run stands."""
        return next((run for run in self.runs if run.run == self.chosen), None)
