"""Get the teacher that `teacher.source` names, check it, keep it in our format."""

from dcde.base.errors import one_line_errors
from dcde.base.paths import PARAMS, TEACHER, check_not_made
from dcde.base.say import say, told
from dcde.model.checkpoint import save_model
from dcde.model.sources import load_model, record_source
from dcde.params.file import load_params
from dcde.params.pipeline import Params


def main() -> None:
    params = load_params(PARAMS, Params).teacher
    say(f"teacher: {params.source}")
    check_not_made(params.source, "teacher.source")
    model = load_model(params.source, "teacher.source")
    save_model(model, TEACHER)
    record_source(params.source, "teacher.source", "download_teacher", TEACHER)
    say(f"{model.config.name}, kept in {TEACHER}")


if __name__ == "__main__":
    with one_line_errors(), told("download_teacher"):
        main()
