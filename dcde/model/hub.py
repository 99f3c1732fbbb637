"""The Hugging Face hub: models from it and to it, and its errors in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dcde.base.errors import UserError
from dcde.model.weights import CONFIG, INDEX, NAMES, shards

HUB_FORM = "hf:<owner>/<name>[@<revision>][/<folder>]"
"""As the hub's own file system writes it: `folder` is where in the repository the model is."""
_PLACE = re.compile(r"([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?(?:/(.+))?")


def repository(source: str) -> str | None:
    """The repository that a source names, if it is the hub's (see `HUB_FORM`)."""
    place = _PLACE.fullmatch(source.removeprefix("hf:")) if source.startswith("hf:") else None
    return place[1] if place else None


def download(name: str, field: str) -> Path:
    """The folder of a model (see `HUB_FORM`), from the hub or its cache.

    Only what is read is downloaded: config.json, and then the weights, in one file or several.

    Raises:
        UserError: naming `field` and the hub's reason.
    """
    from huggingface_hub.errors import HFValidationError

    place = _PLACE.fullmatch(name)
    if place is None:
        raise UserError(f"{field}: hf:{name}: expected {HUB_FORM}")
    repo, revision, folder = place.groups()
    try:
        return _download(repo, revision, folder)
    except (HFValidationError, UserError) as error:
        raise UserError(f"{field}: hf:{name}: {error}") from None
    except Exception as error:  # the hub's client raises many types, by transport and version
        raise UserError(
            f"{field}: hf:{name} is not in the hub's cache and can't be downloaded "
            f"({_reason(error, repo)}); connect to the hub, or run `hf download {repo}` on a "
            f"machine that reaches it and set {field} to that folder"
        ) from None


def _download(repo: str, revision: str | None, folder: str | None) -> Path:
    """The files' folder in the hub's cache; all are of one commit.

    Raises:
        UserError: with what the repository lacks.
        Exception: by the hub's client, if it is not reached or refuses.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(names: Sequence[str], revision: str | None) -> Path:
        """The first of these files that is there."""
        unreached: LocalEntryNotFoundError | None = None
        for name in names:
            try:
                return Path(hf_hub_download(repo, name, subfolder=folder, revision=revision))
            except LocalEntryNotFoundError as error:  # it may be on the hub, which can't be asked
                unreached = unreached or error
            except EntryNotFoundError:
                pass
        if unreached is not None:
            raise unreached
        raise UserError(
            f"the hub has no {' or '.join(names)} there; where a pipeline has its autoencoder in "
            f"a folder, name that: hf:{repo}/vae"
        )

    config = get([CONFIG], revision)
    commit = config.parents[len(Path(folder or "").parts)].name
    weights = get(NAMES, commit)
    for shard in shards(weights) if weights.name.endswith(INDEX) else []:
        get([shard], commit)
    return config.parent


def model_name(folder: Path) -> str:
    """What to call a model that has no name in it: its folder, or its repository on the hub."""
    for parent in folder.absolute().parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            return parent.parent.name.rpartition("--")[2]
    return folder.name


def upload(folder: Path, repo: str) -> str:
    """Commit a folder's files to a model repository, made if need be; the commit's address.

    Raises:
        UserError: with the hub's reason. The repository may exist then, but holds no part of the
            files: they are one commit.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    files = [CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
    try:
        api.create_repo(repo, exist_ok=True)
        commit = api.create_commit(repo, files, commit_message="dcde push")
    except Exception as error:  # the hub's client raises many types, by transport and version
        raise UserError(f"{repo}: not pushed to {api.endpoint}: {_reason(error, repo)}") from None
    return commit.commit_url


_ADVICE = {
    401: "log in with `hf auth login` or set HF_TOKEN",
    403: "the token that is set may not do this",
    404: "no such repository or revision, or no access to it",
    500: "a fault of the hub, try again later",
}


def _reason(error: BaseException, repo: str) -> str:
    """The status that the hub answered, wherever in the chain of errors, or the error in a line."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return (
                f"it asks who uses it: ask for access at {HfApi().endpoint}/{repo}, then log in "
                "with `hf auth login` or set HF_TOKEN"
            )
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            advice = _ADVICE.get(status)
            return f"it answered {status}: {advice}" if advice else f"it answered {status}"
        cause = cause.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
