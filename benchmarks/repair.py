"""What does repair win back, with no training? Students as they were cut, and repaired.

    python -m benchmarks.repair

Each is pruned as params.yaml says but for its shape, and scored on the pipeline's evaluation crops.
Run `dvc repro` first: photos, teacher and networks are the pipeline's.
"""

from __future__ import annotations

from benchmarks.recipe import WHOLE, changed, gaps, pruned_student
from dcde.base.paths import MANIFEST, TEACHER
from dcde.data.manifest import Manifest
from dcde.model.checkpoint import read_model
from dcde.model.costs import decoder_macs_share
from dcde.report.tables import markdown_table

SHAPES: dict[str, list[str]] = {
    "default": [],
    "[0, 1, 2, 1, 1], whole blocks, the first": [
        "prune.depth_list=[0,1,2,1,1]",
        "prune.method=direct",
        *WHOLE,
    ],
    "the same, the last": ["prune.depth_list=[0,1,2,1,1]", *WHOLE],
    "[0, 5, 10, 2, 2], inner 1/8": [
        "prune.depth_list=[0,5,10,2,2]",
        "prune.inner_ratio=[1,0.125,0.125,0.125,0.125]",
    ],
    "[0, 1, 2, 1, 1], inner 1/4": ["prune.depth_list=[0,1,2,1,1]"],
    "[0, 1, 2, 1, 1], widths [16, 32, 32, 64, 64]": [
        "prune.depth_list=[0,1,2,1,1]",
        "prune.width_list=[16,32,32,64,64]",
        "prune.inner_ratio=null",
    ],
    "[0, 5, 10, 2, 2], half as wide": [
        "prune.depth_list=[0,5,10,2,2]",
        "prune.width_list=[16,16,32,64,64]",
        "prune.inner_ratio=null",
    ],
}
"""Name to changes of params.yaml."""


def main() -> None:
    crops, teacher = Manifest.load(MANIFEST).eval, read_model(TEACHER)
    head = ["student", "MACs %", "cut: PSNR gap dB", "LPIPS gap"]
    table = [[*head, "repaired: PSNR gap dB", "LPIPS gap"]]
    for name, changes in SHAPES.items():
        row = [name]
        for repair in ("false", "true"):
            student = pruned_student(changed([*changes, f"prune.repair={repair}"]))
            if len(row) == 1:
                row.append(f"{100 * decoder_macs_share(teacher.config, student.config):.1f}")
            found = gaps(student, crops)
            row += [f"{found['psnr_db_gap']:+.2f}", f"{found['lpips_gap']:+.4f}"]
        table.append(row)
    print(markdown_table(table))


if __name__ == "__main__":
    main()
