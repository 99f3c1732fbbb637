"""Files and folders that appear whole, also where several processes write the same ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dcde.base.errors import UserError
from dcde.base.files import check_new, check_writable, whole_file, whole_folder
from tests.helpers.tiny import ROOT
from tests.helpers.users import another_user, open_to_others

WRITE = """
import sys, time
from pathlib import Path
from dcde.base.files import whole_folder
with whole_folder(Path(sys.argv[1])) as partial:
    (partial / "half").write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


def test_writers_do_not_touch_each_others_partial_folders(tmp_path: Path) -> None:
    """One is at work; another writes the same folder; then the first is killed."""
    target = tmp_path / "target"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(target)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    (theirs,) = tmp_path.iterdir()
    with whole_folder(target) as partial:
        (partial / "whole").write_text("whole")
    assert (theirs / "half").is_file() and (target / "whole").is_file()
    child.kill()
    child.wait()
    with whole_folder(target) as partial:  # now what the killed one left is no one's
        (partial / "new").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]
    assert [p.name for p in target.iterdir()] == ["new"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        partial.write_text("new")
        assert str(os.getpid()) in partial.name
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_files_follow_the_umask(umask: int, tmp_path: Path) -> None:
    """Also those of safetensors, which writes for the owner alone."""
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "alone") as partial:
            save_file({"x": torch.zeros(1)}, partial)
        with whole_folder(tmp_path / "folder") as partial:
            save_file({"x": torch.zeros(1)}, partial / "inside")
            (partial / "text").write_text("text")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode for name in ("alone", "folder/inside", "folder/text")]
    assert [oct(mode & 0o777) for mode in modes] == [oct(0o666 & ~umask)] * 3


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    tmp_path.chmod(0o555)
    for check in (check_writable, check_new):
        message = rf"--out: can't write in {tmp_path} \(Permission denied"
        with another_user(), pytest.raises(UserError, match=message):
            check(tmp_path / "new/folder", "--out")


def test_a_place_to_write_is_tried_without_leaving_anything(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_new(tmp_path / "new", "--out")
    check_writable(tmp_path / "new/folder", "--out")
    for check in (check_writable, check_new):
        with pytest.raises(UserError, match=r"--out: can't write in .*/file \(Not a directory\)"):
            check(tmp_path / "file/new/folder", "--out")
    assert os.listdir(tmp_path) == ["file"]
