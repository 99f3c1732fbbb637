"""`dcde check`: describe the run that `dvc repro` would do, and find what would stop it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import typer

from dcde.base.devices import best_device, check_compiler, device_name
from dcde.base.errors import UserError, one_line_errors
from dcde.base.files import check_writable
from dcde.base.paths import (
    EVAL_METRICS,
    EVAL_PLOTS,
    MANIFEST,
    PARAMS,
    PHOTOS,
    PRUNED,
    TEACHER,
    check_not_made,
)
from dcde.base.processes import check_launcher, make_accelerator, process_state
from dcde.base.work import check_disk, work_dir
from dcde.data.check import check_unchanged
from dcde.data.manifest import FILES
from dcde.data.prepare import photo_counts
from dcde.distill.latents import crop_bytes
from dcde.distill.plan import check_models, plan_run
from dcde.metrics.frechet import check_fid_files
from dcde.model.costs import decoder_macs, decoder_macs_share
from dcde.model.sources import check_original, known_config
from dcde.params.autoencoder import is_autoencoder
from dcde.params.file import read_raw, validate
from dcde.params.pipeline import Params
from dcde.prune.repair import check_positions
from dcde.prune.shape import student_config
from dcde.prune.start import known_student


def check() -> None:
    """Describe the run that `dvc repro` would do with params.yaml, and find what would stop it."""
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
        typer.echo("ready     nothing was found that would stop the run")


def checked(params: Params) -> Iterator[tuple[str, str]]:
    """Describe the run topic by topic.

    Raises:
        UserError: for the first thing that is known to stop it.
    """
    distill, size = params.distill, params.data.eval_size
    for place in (work_dir(), *(out.parent for out in (PHOTOS, TEACHER, EVAL_METRICS, EVAL_PLOTS))):
        check_writable(place, "the run")
    make_accelerator(distill.precision)
    yield "device", f"{device_name(best_device())}, {distill.precision}"
    if distill.compile:
        check_compiler("distill.compile")
    check_launcher(params.launcher)
    if params.eval.fid:
        check_fid_files(params.eval.inception_weights, params.eval.fid_stats, size)

    training, evaluation = photo_counts(params.data.source, params.data.val_fraction)
    yield "photos", f"{training} to train on, {evaluation} to evaluate on"
    plan = plan_run(training, distill, processes=process_state().num_processes)

    check_not_made(params.teacher.source, "teacher.source")
    teacher = known_config(params.teacher.source, "teacher.source")
    if teacher is None:
        yield "teacher", f"{params.teacher.source}, unknown until it is downloaded"
        return
    teacher.check_image_size("data.eval_size", size)
    for resolution in params.profile.resolutions:
        teacher.check_image_size("profile.resolutions", resolution)
    gmacs = decoder_macs(teacher, size) / 1e9
    yield "teacher", f"{teacher.name}, {gmacs:.4g} GMACs to decode {size} px"

    if params.prune.start is not None:
        student = known_student(params.prune.start, teacher)
    else:
        student = student_config(teacher, params.prune)
    if student is None:
        yield "student", f"{params.prune.start}, unknown until it is downloaded"
        return
    asked = params.prune.calibration_images
    if params.prune.fits and params.prune.start is None:
        check_positions(student, asked, min(asked, training), size)
    check_models(student, teacher, params)
    share = decoder_macs_share(teacher, student)
    yield "student", f"blocks {list(student.decoder.depths)}, {share:.1%} of the teacher's MACs"
    yield (
        "training",
        (
            f"{distill.epochs} epochs of {plan.samples} crops of {distill.crops.image_size} px in "
            f"batches of {distill.batch_size}: {plan.steps} steps"
        ),
    )
    each = crop_bytes(teacher, distill.crops.image_size, keep_pixels=plan.keep_pixels)
    yield "cache", check_disk(work_dir(), plan.crops * each, f"{plan.crops} crops")
    if importlib.util.find_spec("diffusers") is None:
        yield "missing", "diffusers: the profile leaves out its column"


def _stages_to_run() -> Iterator[tuple[str, str]]:
    """Name the stages that DVC would run; nothing under DVC itself, which would wait for itself.

    Raises:
        UserError: if DVC would not read a source again that has changed or leads elsewhere.
    """
    if "DVC_ROOT" in os.environ:
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            stages = repo.status()
    except DvcException as error:
        raise UserError(f"dvc: {error}") from None
    if "prepare_data" not in stages and (files := MANIFEST.with_name(FILES)).is_file():
        check_unchanged(files)
    for stage, model in (("download_teacher", TEACHER), ("prune", PRUNED)):
        if stage not in stages:
            check_original(model)
    changed = ", ".join(stages)
    yield "to run", f"{changed}, and what depends on them" if changed else "nothing has changed"
