"""``fit3d fit-scenes``: many captures become scenes with features, on this machine or on a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.console import progress_bars, say, show, size, wrote

if TYPE_CHECKING:
    from render.progress import Progress
    from training.fleet import EncoderChoice, Outcome, SceneJob, Settings

NAMED = re.compile(r"([\w.-]+)=(.+)")
DEVICES = ("auto", "cpu", "cuda")
RETRIES = 2  # of a scene on a cluster
SHOWN = 24  # scenes in the table of the terminal; the file has all


@dataclass(frozen=True)
class FitScenes:
    """Fit Gaussians to many captures, import them as scenes, and lift features of 2D encoders onto them.

    A source is a capture (transforms.json or a COLMAP model, with photos), a scene folder, a run of ns-train, an output
    folder of 3D Gaussian splatting, or a folder of these.  Scenes that have Gaussians stay where they are and only get
    features; the others are written to OUT/scenes.  Each scene is worked on by commands of its own, whose
    words are in OUT/logs; time and memory of each are in OUT/report.md.

    Given again, the command does only what is not done yet, and goes on with interrupted fits.  A scene that fails is
    named at the end with its cause; the others go on.
    """

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Captures, scenes or runs, or folders of them."""
    out: Path
    """Folder of scenes, logs, records and the report."""
    encoders: tuple[str, ...] = ()
    """Whose features are lifted, such as tiny-dino dinov2-reg-small; FIELD=NAME gives the field a name of its own."""
    weights: tuple[str, ...] = ()
    """Files with weights, as ENCODER=FILE; without one they are downloaded, or bundled."""
    method: str = "fit3d-small"
    """Of ns-train: fit3d-small, or fit3d as in the paper."""
    learn: str | None = None
    """The encoder whose features are learned while fitting, or none; by default what the method does."""
    steps: int | None = None
    """Of fitting; by default the method's."""
    fit_options: tuple[str, ...] = ()
    """More options of ns-train, as NAME=VALUE: pipeline.model.max-gaussians=50000."""
    lift_options: tuple[str, ...] = ()
    """More options of fit3d lift, as NAME=VALUE: reduce=64."""
    refit: bool = False
    """Fit Gaussians to the photos of scenes that have some too; the new scenes are written to OUT/scenes."""
    overwrite: bool = False
    """Make again what was made with other settings."""
    keep_runs: bool = False
    """Keep what ns-train wrote after it is imported."""
    jobs: int | None = None
    """Without --ray: how many scenes at a time at most; by default as many as there are GPUs, or else threads, and
    memory for."""
    memory: float | None = None
    """Gigabytes of this machine to use at most; by default most of what is free."""
    ray: str | None = None
    """Address of a Ray cluster (auto, HOST:PORT, ray://HOST:PORT), or local for one of this machine.  Every node needs
    fit3d, and the folders at the same paths."""
    retries: int | None = None
    """With --ray: how often a scene is begun again when its worker or machine dies; by default twice."""
    gpus: float | None = None
    """With --ray: GPUs of each scene; a fraction shares one.  By default one, where there are any."""
    cpus: int | None = None
    """With --ray: processors of each scene; by default a GPU's share, or one."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def run(self) -> None:
        """Do what is not done, and report."""
        from training.fleet import find_sources

        self._check()
        sources = find_sources(self.sources)
        settings = self._settings()
        from app.fleet_tables import write_report

        jobs = self._jobs(sources, settings)
        waiting, failures = _waiting(jobs)
        say(_opening(len(jobs), len(waiting), len(failures)))
        with progress_bars() as progress:
            outcomes = self._work(waiting, progress)
        failures += [outcome for outcome in outcomes if outcome.failed is not None]
        for table in write_report(self.out, jobs, failures, settings, most=SHOWN):
            show(table)
        wrote(self.out / "report.md")
        _complain(failures, len(jobs))

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.devices import resolve_device
        from render.errors import InputError
        from training.fleet.cluster import LOCAL

        check_positive({"--steps": self.steps, "--jobs": self.jobs, "--memory": self.memory, "--cpus": self.cpus})
        if self.device not in DEVICES:
            raise InputError(
                f"--device takes {', '.join(DEVICES)}, found {self.device!r}; each scene is given GPUs of those that "
                "CUDA_VISIBLE_DEVICES names."
            )
        resolve_device(self.device)
        if not self.sources:
            raise InputError("Expected captures, scenes or runs, or folders of them; found none.")
        of_cluster = {"--retries": self.retries, "--gpus": self.gpus, "--cpus": self.cpus}
        for flag in ("--retries", "--gpus"):
            value = of_cluster[flag]
            if value is not None and value < 0:
                raise InputError(f"{flag} takes 0 or more, found {value:g}.")
        alone = [flag for flag, value in of_cluster.items() if value is not None]
        if alone and self.ray is None:
            raise InputError(f"{' and '.join(alone)} are of a cluster; give --ray ADDRESS, or leave them out.")
        if self.memory is not None and self.ray not in (None, LOCAL):
            raise InputError("--memory is of this machine; a cluster's nodes were told theirs when they were started.")
        if self.jobs is not None and self.ray is not None:
            raise InputError("--jobs is not of a cluster; with --ray give --cpus or --gpus of each scene instead.")
        check_folder(self.out)

    def _settings(self) -> Settings:
        from training.fleet import Settings

        weights = _weights(self.weights)
        steps = () if self.steps is None else ("--max-num-iterations", str(self.steps))
        fields = [_field(text, self.lift_options) for text in self.encoders]
        learned = None if self.learn is None else _choice("none", self.learn, weights)
        settings = Settings(
            method=self.method,
            training=(*_options(self.fit_options, "--fit-options"), *steps),
            learned=learned,
            encoders=tuple(_choice(field, name, weights) for field, name in fields),
            lifting=_options(self.lift_options, "--lift-options"),
            refit=self.refit,
            overwrite=self.overwrite,
            keep_runs=self.keep_runs,
            device=self.device,
        )
        _check_choices(settings, weights)
        return settings

    def _jobs(self, sources: dict[str, Path], settings: Settings) -> list[SceneJob]:
        from training.fleet import SceneJob, memory_needed

        out = self.out.resolve()
        jobs = [SceneJob(name, source, out, settings) for name, source in sources.items()]
        return [replace(job, need=memory_needed(job)) for job in jobs]

    def _work(self, jobs: Sequence[SceneJob], progress: Progress) -> list[Outcome]:
        from training.fleet import Cluster, fit_scene, run_local, run_on_ray, this_machine

        memory = None if self.memory is None else int(self.memory * 1e9)
        machine = this_machine(gpus=self.device != "cpu", memory=memory, most=self.jobs)
        if self.ray is not None:
            retries = RETRIES if self.retries is None else self.retries
            cluster = Cluster(self.ray, retries, self.gpus, self.cpus, machine)
            return run_on_ray(jobs, fit_scene, cluster, progress)
        largest = max((job.need for job in jobs), default=0)
        if largest > machine.memory:
            say(f"memory: about {size(largest)} for a scene, but only {size(machine.memory)} may be used: it may fail")
        return run_local(jobs, fit_scene, machine, progress)


def _options(texts: Sequence[str], flag: str) -> tuple[str, ...]:
    """Options of another program, from NAME=VALUE."""
    from render.errors import InputError

    result: list[str] = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip("-"):
            raise InputError(f"{flag} takes NAME=VALUE, such as max-num-iterations=600; found {text!r}.")
        result += [f"--{name.lstrip('-')}", value]
    return tuple(result)


def _weights(texts: Sequence[str]) -> dict[str, Path]:
    from render.errors import InputError

    found: dict[str, Path] = {}
    for text in texts:
        name, separator, file = text.rpartition("=")
        if not separator or not Path(file).is_file():
            raise InputError(f"--weights takes ENCODER=FILE of a file that exists, found {text!r}.")
        found[name] = Path(file).resolve()
    return found


def _field(text: str, lift_options: Sequence[str]) -> tuple[str, str]:
    """Name of a field, and encoder; as fit3d lift calls a field unless it is told."""
    named = NAMED.fullmatch(text)
    if named is not None:
        return named[1], named[2]
    reduced = [option.partition("=")[2] for option in lift_options if option.partition("=")[0].lstrip("-") == "reduce"]
    return "-".join([re.sub(r"[^\w.-]", "-", text), *reduced[-1:]]), text


def _choice(field: str, name: str, weights: dict[str, Path]) -> EncoderChoice:
    """An encoder that can be loaded; its weights are here afterwards, before many commands ask for them at once."""
    from training.fleet import EncoderChoice
    from uplift.encoders import load_encoder

    if name == "none":
        return EncoderChoice(name, field, None, "", 0)
    encoder = load_encoder(name, weights.get(name), "cpu")
    if encoder.licence:
        say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
    return EncoderChoice(name, field, weights.get(name), encoder.fingerprint(), encoder.dimension)


def _check_choices(settings: Settings, weights: dict[str, Path]) -> None:
    from render.errors import InputError

    names = {choice.name for choice in settings.encoders} | {settings.learned.name if settings.learned else ""}
    unused = sorted(set(weights) - names)
    if unused:
        raise InputError(f"--weights names {', '.join(unused)}, which is not among the encoders.")
    fields = [choice.field for choice in settings.encoders]
    twice = sorted({field for field in fields if fields.count(field) > 1})
    if twice:
        raise InputError(f"Several encoders would make the field {twice[0]}; name them, as FIELD=ENCODER.")


def _waiting(jobs: Sequence[SceneJob]) -> tuple[list[SceneJob], list[Outcome]]:
    """The scenes that need something, and those that nothing can be done for."""
    from render.errors import InputError
    from training.fleet import Outcome, pending

    waiting, failures = [], []
    for job in jobs:
        try:
            if pending(job):
                waiting.append(job)
        except (InputError, OSError) as error:
            failures.append(Outcome(job.name, failed="reading", cause=str(error)))
    return waiting, failures


def _opening(total: int, waiting: int, failed: int) -> str:
    done = total - waiting - failed
    parts = [f"{waiting} of {total} scenes to do"]
    parts += [f"{done} done already"] if done else []
    parts += [f"{failed} cannot be done"] if failed else []
    return ", ".join(parts)


def _complain(failures: Sequence[Outcome], total: int) -> None:
    """Name what failed, each with its cause, and end with exit code 1."""
    for outcome in failures:
        log = "" if outcome.log is None else f" (log: {outcome.log})"
        say(f"{outcome.name} failed at {outcome.failed}: {outcome.cause}{log}")
    if failures:
        raise ChildProcessError(f"{len(failures)} of {total} scenes failed; they are named above, the others are done.")
