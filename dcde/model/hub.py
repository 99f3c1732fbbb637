"""Models from and to the Hugging Face hub, and its errors in one line."""

from __future__ import annotations

import re
from pathlib import Path

from dcde.base.errors import UserError
from dcde.model.weights import CONFIG, DIFFUSERS_WEIGHTS, WEIGHTS

HUB_FORM = "hf:<owner>/<name>[@<revision>][/<folder>]"
"""The form of the hub's own file system; `folder` is the model's place in the repository."""
_PLACE = re.compile(r"([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?(?:/(.+))?")


def repository(source: str) -> str | None:
    """Return the hub's repository that a source names, if it does (see `HUB_FORM`)."""
    place = _PLACE.fullmatch(source.removeprefix("hf:")) if source.startswith("hf:") else None
    return place[1] if place else None


def parse_place(name: str, field: str) -> tuple[str, str | None, str | None]:
    """Split `<owner>/<name>[@<revision>][/<folder>]` into repository, revision and folder.

    Raises:
        UserError: naming `field`.
    """
    place = _PLACE.fullmatch(name)
    if place is None:
        raise UserError(f"{field}: hf:{name}: expected {HUB_FORM}")
    return place[1], place[2], place[3]


def download(name: str, field: str) -> Path:
    """Return the folder of a model (see `HUB_FORM`), from the hub or its cache.

    Only config.json and the weights are downloaded; variants, such as fp16, if there is nothing
    else.

    Raises:
        UserError: naming `field` and the hub's reason.
    """
    from huggingface_hub import snapshot_download

    repo, revision, folder = parse_place(name, field)

    def fetch(*files: str) -> Path:
        patterns = [str(Path(folder or "", name)) for name in files]
        snapshot = snapshot_download(repo, revision=revision, allow_patterns=patterns)
        return Path(snapshot, folder or "")

    try:
        model = fetch(CONFIG, WEIGHTS, DIFFUSERS_WEIGHTS)
        if (model / CONFIG).is_file() and not any(model.glob("*.safetensors")):
            fetch("*.safetensors")
    except Exception as error:  # the hub's client raises many types, by transport and version
        raise UserError(
            f"{field}: hf:{name} is not in the hub's cache and can't be downloaded "
            f"({_reason(error)}); connect to the hub, or run `hf download {repo}` on a "
            f"machine that reaches it and set {field} to that folder"
        ) from None
    if not (model / CONFIG).is_file():
        raise UserError(
            f"{field}: hf:{name}: found no {CONFIG} there; if a pipeline has its autoencoder in a "
            f"folder, name that: hf:{repo}/vae"
        )
    return model


def model_name(folder: Path) -> str:
    """Name a model without a name of its own after its repository on the hub or its folder."""
    for parent in folder.absolute().parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            return parent.parent.name.rpartition("--")[2]
    return folder.name


def upload(folder: Path, repo: str) -> str:
    """Commit a folder's files to a repository, made if need be; return the commit's address."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Upload with dcde push"
        )
    except Exception as error:  # the hub's client raises many types, by transport and version
        raise UserError(f"{repo}: not pushed to {api.endpoint}: {_reason(error)}") from None
    return commit.commit_url


_ADVICE = {
    401: "log in with `hf auth login` or set HF_TOKEN",
    403: "your account or token has no access",
    404: "no such repository or revision, or no access to it",
}


def _reason(error: BaseException) -> str:
    """Return in one line what the hub answered, or else the error."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            advice = _ADVICE.get(status)
            return f"it answered {status}: {advice}" if advice else f"it answered {status}"
        cause = cause.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
