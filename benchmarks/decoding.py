"""How fast is decoding, compared with diffusers' `AutoencoderDC` with the same weights?

    python -m benchmarks.decoding --out decoding
    python -m benchmarks.decoding --only bundled --compile

All decoders of a group take turns in one process: diffusers, our plain decoder and
`dcde.optimize`. A group is a teacher and its students, with random weights. GFLOP/s stand beside
those of a large matrix product: the limit for everything but multiplying less. On two CPU cores
the full-size models take half an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.setting import Setting, about, table
from dcde.base.results import write_metrics
from dcde.model import DCAE
from dcde.model.costs import decoder_macs
from dcde.profile import latency
from dcde.profile.latency import Decode, decode_costs, decoders, example_latent

GROUPS = {
    "sana": ("lite", "sana-4x", "sana-2x", "sana-14x"),
    "f32c32-in": ("in-6x", "w4-v3", "in-3x"),
    "bundled": (),
}
"""Teacher to its students. DC-AE-Lite decodes the same latents as Sana's autoencoder."""
SIZES = ((1024, 1), (512, 1), (1024, 8), (512, 8))
"""Side of the image in pixels, and images at a time."""
CPU_SIZES = ((512, 1),)
COMPILED = (
    ("sana-4x", "optimized"),
    ("lite", "diffusers"),
    ("sana", "diffusers"),
    ("sana", "optimized"),
    ("sana-2x", "optimized"),
    ("in-6x", "optimized"),
    ("f32c32-in", "diffusers"),
    ("f32c32-in", "optimized"),
    ("lite", "optimized"),
)
"""Model and way to compile too, what decides first: each takes half a minute to start."""
COLUMNS = (
    *("model", "precision", "way", "latency_ms", "gflops_per_s", "peak_memory_mib"),
    *("times_diffusers", "times_teacher_in_diffusers"),
)
DTYPES = {**latency.DTYPES, "fp16": torch.float16}

Rows = list[dict[str, Any]]


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for decoding.json.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(GROUPS)}.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help=f"Some of {', '.join(DTYPES)}.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Also by torch.compile.")] = False,
    runs: Annotated[int, typer.Option(help="Measured runs of each decoder.")] = 10,
) -> None:
    setting = Setting(out or Path())
    found = measure(
        setting,
        only or list(GROUPS),
        precision or list(latency.DTYPES),
        compiled=COMPILED if compile else (),
        runs=runs,
    )
    print(f"{about(setting.device)['device']}; matrix product: {found['matmul_gflops_per_s']}\n")
    print(table(found["rows"], COLUMNS))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_metrics({**about(setting.device), **found}, out / "decoding.json")


def measure(
    setting: Setting,
    groups: Sequence[str] = tuple(GROUPS),
    precisions: Sequence[str] = ("bf16", "fp16"),
    compiled: Sequence[tuple[str, str]] = COMPILED,
    runs: int = 10,
) -> dict[str, Any]:
    """Return a row for each model, precision, size and decoder."""
    rows: Rows = []
    for precision in precisions:
        rows += [
            row
            for group in groups
            for row in _group_rows(setting, (group, *GROUPS[group]), precision, runs)
        ]
        for name, way in compiled if precision == precisions[0] else ():
            if any(name in (group, *GROUPS[group]) for group in groups):
                rows += _compiled_rows(setting, name, way, precision, runs)
    _add_ratios(rows, {student: t for t, students in GROUPS.items() for student in students})
    rates = {p: setting.matmul_gflops_per_s(DTYPES[p]) for p in precisions}
    return {"matmul_gflops_per_s": rates, "rows": rows}


def _group_rows(
    setting: Setting, names: Sequence[str], precision: str, runs: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of models that take turns, for each size that there is time for."""
    if not setting.has_time(f"{names[0]}, {precision}"):
        return
    models = {name: setting.model(name) for name in names}
    ways = decoders(models, DTYPES[precision], setting.device)
    for px, images in SIZES if setting.device.type == "cuda" else CPU_SIZES:
        if setting.has_time(f"{names[0]}, {precision}, {px} px, batch {images}"):
            yield from _rows(setting, models, ways, precision, px, images, runs)


def _compiled_rows(
    setting: Setting, name: str, way: str, precision: str, runs: int
) -> Iterator[dict[str, Any]]:
    """Yield the row of a decoder that torch.compile sped up, channels-last."""
    if not setting.has_time(f"{name}, {way}, compiled, {precision}"):
        return
    model = setting.model(name)
    # Inductor takes minutes on a CPU, too long for a smoke test.
    backend = "eager" if setting.smoke else "inductor"
    decode = latency.compiled(model, way, DTYPES[precision], backend)
    ((px, images),) = SIZES[:1] if setting.device.type == "cuda" else CPU_SIZES
    ways = {(name, f"{way}, compiled"): decode}
    yield from _rows(setting, {name: model}, ways, precision, px, images, runs)
    torch._dynamo.reset()


def _rows(
    setting: Setting,
    models: Mapping[str, DCAE],
    ways: Mapping[tuple[str, str], Decode],
    precision: str,
    px: int,
    images: int,
    runs: int,
) -> Iterator[dict[str, Any]]:
    px, batch = 64 if setting.smoke else px, setting.batch(images)
    latent = example_latent(next(iter(models.values())).config, px, batch, seed=0)
    latent = latent.to(setting.device, DTYPES[precision])
    costs = decode_costs(ways, latent, warmup_runs=2, runs=1 if setting.smoke else runs)
    for (name, way), cost in costs.items():
        flops = 2 * batch * decoder_macs(models[name].config, px)
        yield {
            **{"model": name, "way": way, "precision": precision, "px": px, "batch": batch},
            **{key: value for key, value in cost.items() if value is not None},
            "gflops_per_s": flops / cost["latency_ms"] / 1e6,  # type: ignore[operator]
        }


def _add_ratios(rows: Rows, teachers: dict[str, str]) -> None:
    """Compare with diffusers, compiled or not alike: the same model, its teacher, and Lite."""

    def key(row: dict[str, Any], model: str, way: str) -> tuple[Any, ...]:
        return (model, way, row["precision"], row["px"], row["batch"])

    took = {key(row, row["model"], row["way"]): row["latency_ms"] for row in rows}
    for row in rows:
        _, comma, compiled = row["way"].partition(",")
        for ratio, peer in (
            ("times_diffusers", row["model"]),
            ("times_teacher_in_diffusers", teachers.get(row["model"], "")),
            (
                "times_lite_in_diffusers",
                "lite" if row["model"] in ("sana", *GROUPS["sana"]) else "",
            ),
        ):
            if ms := took.get(key(row, peer, f"diffusers{comma}{compiled}")):
                row[ratio] = ms / row["latency_ms"]


if __name__ == "__main__":
    typer.run(main)
