"""Make the student: the teacher with fewer blocks in its decoder."""

from pathlib import Path

from dcde.checkpoint import load_model, save_model
from dcde.config import Params, load_params
from dcde.errors import one_line_errors
from dcde.pruning import prune_depth

TEACHER = Path("models/teacher")
OUT = Path("models/pruned")


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    student = prune_depth(
        load_model(TEACHER), params.prune.depth_list, params.prune.method, seed=params.seed
    )
    save_model(student, OUT)
    print(f"{student.config.name}, filled by {params.prune.method}")


if __name__ == "__main__":
    with one_line_errors():
        main()
