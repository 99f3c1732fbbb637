"""Get the teacher from where `teacher.source` says, check it, keep it in our format."""

from dcde.base.errors import one_line_errors
from dcde.base.params import Params
from dcde.base.params_file import load_params
from dcde.base.paths import PARAMS, TEACHER
from dcde.base.say import say, told
from dcde.model.checkpoint import save_model
from dcde.model.sources import load_teacher, record_source


def main() -> None:
    params = load_params(PARAMS, Params).teacher
    say(f"teacher: {params.source}")
    model, sha256 = load_teacher(params.source, params.sha256)
    save_model(model, TEACHER)
    record_source(params.source, "teacher.source", "download_teacher", TEACHER)
    say(f"{model.config.name}, sha256 {sha256}")


if __name__ == "__main__":
    with one_line_errors(), told("download_teacher"):
        main()
