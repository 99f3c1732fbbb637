"""Get the teacher from where `teacher.source` says, check it, keep it in our format."""

from pathlib import Path

from dcde.checkpoint import save_model
from dcde.config import Params
from dcde.errors import one_line_errors
from dcde.paramsfile import load_params
from dcde.sources import load_teacher

OUT = Path("models/teacher")


def main() -> None:
    params = load_params(Path("params.yaml"), Params).teacher
    model, sha256 = load_teacher(params.source, params.sha256)
    save_model(model, OUT)
    print(f"{params.source}: {model.config.name}, sha256 {sha256}")


if __name__ == "__main__":
    with one_line_errors():
        main()
