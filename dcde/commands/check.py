"""`dcde check`: what `dvc repro` would do with params.yaml as it is, and what would stop it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
import typer

from dcde.base.autoencoder import is_autoencoder
from dcde.base.devices import best_device, check_compiler, device_name
from dcde.base.errors import UserError, one_line_errors
from dcde.base.params import Params, PruneParams
from dcde.base.params_file import read_raw, validate
from dcde.base.paths import PARAMS
from dcde.base.processes import check_batch_size, check_launcher, make_accelerator, process_state
from dcde.base.work import check_disk, human_bytes, work_dir
from dcde.data.embedded import embedded_counts
from dcde.data.folder import split_counts
from dcde.distill.distill import check_fit
from dcde.distill.freeze import deep_parameters
from dcde.distill.latents import crop_bytes, drawn_again
from dcde.distill.memory import step_bytes
from dcde.distill.plan import check_held_out, training_steps
from dcde.metrics.frechet import Statistics
from dcde.metrics.inception import INCEPTION_FEATURES, check_inception_file
from dcde.model import DCAEConfig
from dcde.model.costs import decoder_macs
from dcde.model.dcae import build_on_meta
from dcde.model.sources import find_teacher, known_config
from dcde.prune.choose import check_prune, decoder_macs_share
from dcde.prune.depth import student_config
from dcde.prune.repair import check_positions
from dcde.prune.start import check_place, check_student
from dcde.prune.widths import narrow_config
from dcde.train.trainer import LESS_MEMORY


def check() -> None:
    """Tell what `dvc repro` would do with params.yaml as it is, without doing it."""
    with one_line_errors():
        raw = read_raw(PARAMS)
        if is_autoencoder(raw):
            raise UserError(
                f"{PARAMS}: found the parameters of autoencoder/, expected those of the main "
                "pipeline; `dvc repro prepare_data` checks these"
            )
        params = validate(raw, Params, where=PARAMS.name)
        for topic, line in (*checked(params), *_stages_to_run()):
            typer.echo(f"{topic:10}{line}")


def checked(params: Params) -> Iterator[tuple[str, str]]:
    """What the run will be, topic by topic.

    Raises:
        UserError: for the first thing that would stop it and that can be known now.
    """
    distill, size = params.distill, params.data.eval_size
    make_accelerator(distill.precision)
    yield "device", f"{device_name(best_device())}, {distill.precision}"
    if distill.compile:
        check_compiler("distill.compile")
    check_launcher(params.launcher)

    if params.eval.fid:
        _check_fid_files(params)

    training, evaluation = _photo_counts(params)
    yield "photos", f"{training} to train on, {evaluation} to evaluate on"
    check_held_out(distill.validation_photos, training)

    teacher = teacher_config(params)
    if teacher is None:
        yield "teacher", f"{params.teacher.source}, of which nothing is known until it is there"
        return
    teacher.check_image_size("data.eval_size", size)
    for resolution in params.profile.resolutions:
        teacher.check_image_size("profile.resolutions", resolution)
    gmacs = decoder_macs(teacher, size) / 1e9
    yield "teacher", f"{teacher.name}, {gmacs:.4g} GMACs to decode {size} px"

    student = _student(teacher, params.prune)
    if student is None:
        yield "student", f"{params.prune.start}, of which nothing is known until it is there"
        return
    asked = params.prune.calibration_images
    _check_memory(asked, min(asked, training), size)
    if params.prune.repair and params.prune.start is None:
        check_positions(student, asked, min(asked, training), size)
    check_fit(student, teacher, distill, features="feature" in params.loss.weights())
    deep_parameters(build_on_meta(student).decoder, distill.shallow_stages)
    if params.prune.budget is None or params.prune.start:
        share = decoder_macs_share(teacher, student)
        yield "student", f"blocks {list(student.decoder.depths)}, {share:.1%} of the teacher's MACs"
    else:
        yield "student", f"at most {params.prune.budget.decoder_macs:.1%} of the teacher's MACs"

    left = training - distill.validation_photos
    samples = distill.samples_per_epoch or left
    processes = process_state().num_processes
    check_batch_size("distill.batch_size", distill.batch_size, samples, processes)
    yield (
        "training",
        (
            f"{distill.epochs} epochs of {samples} crops of {distill.crops.image_size} px in "
            f"batches of {distill.batch_size}: {training_steps(distill, samples)} steps"
        ),
    )
    yield "memory", _step_memory(student, teacher, params)
    draws = samples * distill.epochs
    crops = min(draws, left * distill.crops_per_image)
    keep_pixels = drawn_again(draws, crops)
    each = crop_bytes(teacher, distill.crops.image_size, keep_pixels=keep_pixels)
    yield "cache", check_disk(work_dir(), crops * each, f"{crops} crops")
    if importlib.util.find_spec("diffusers") is None:
        yield "missing", "diffusers: the profile goes without its column"


def teacher_config(params: Params) -> DCAEConfig | None:
    """The teacher's architecture, as far as it is known without a download.

    Raises:
        UserError: if what is here already can't be the teacher.
    """
    if not params.teacher.source.startswith("hf:"):
        find_teacher(params.teacher.source, params.teacher.sha256)
    return known_config(params.teacher.source, "teacher.source")


def _student(teacher: DCAEConfig, prune: PruneParams) -> DCAEConfig | None:
    """With all blocks where it is measured which of them stay; None if it is yet to be downloaded.

    Raises:
        UserError: if there can be none.
    """
    if prune.start is not None:
        check_place(prune.start)
        found = known_config(prune.start, "prune.start")
        if found is not None:
            check_student(found, teacher)
        return found
    check_prune(teacher, prune)
    cut = student_config(teacher, prune.depth_list) if prune.depth_list else teacher
    return narrow_config(cut, prune.width_list, prune.inner_ratio)


def _photo_counts(params: Params) -> tuple[int, int]:
    """Photos for training and for evaluation, if all of them can be read."""
    data = params.data
    if data.source == "embedded":
        return embedded_counts()
    return split_counts(Path(data.source).expanduser(), data.val_fraction)


def _check_fid_files(params: Params) -> None:
    if params.eval.inception_weights is not None:
        check_inception_file(Path(params.eval.inception_weights))
    if params.eval.fid_stats is not None:
        stats, size = Path(params.eval.fid_stats), params.data.eval_size
        Statistics.load(stats, features=INCEPTION_FEATURES, resolution=size)


def _check_memory(asked: int, photos: int, size: int) -> None:
    """Refuse calibration photos that alone fill the memory."""
    needed, free = photos * 3 * size**2 * 4, psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"prune.calibration_images: found {asked}: {photos} photos of {size} px take "
            f"{human_bytes(needed)}, and {human_bytes(free)} of memory are free; tens are enough"
        )


def _step_memory(student: DCAEConfig, teacher: DCAEConfig, params: Params) -> str:
    """What a training step takes, which is refused where the device hasn't as much."""
    needed, device = step_bytes(student, teacher, params), best_device()
    total = (
        torch.cuda.mem_get_info(device)[1]
        if device.type == "cuda"
        else psutil.virtual_memory().total
    )
    takes = f"a step takes about {human_bytes(needed)} of {human_bytes(total)}"
    if needed > total and params.prune.budget is None:  # else all blocks were counted
        raise UserError(
            f"distill.batch_size: found {params.distill.batch_size}, with which {takes} of memory: "
            f"{LESS_MEMORY}"
        )
    return takes


def _stages_to_run() -> Iterator[tuple[str, str]]:
    """What DVC would run; nothing where DVC itself has called this, as it would wait for itself."""
    if "DVC_ROOT" in os.environ:
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            changed = ", ".join(repo.status())
    except DvcException as error:
        raise UserError(f"dvc: {error}") from None
    yield "to run", f"{changed}, and what depends on them" if changed else "nothing has changed"
