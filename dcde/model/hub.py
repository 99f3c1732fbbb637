"""The Hugging Face hub: models from it and to it, and its errors in one line."""

from __future__ import annotations

from pathlib import Path

from dcde.base.errors import UserError


def download(name: str, field: str) -> Path:
    """The folder of `<repo>[@revision]`, from the hub or its cache.

    Raises:
        UserError: naming `field` and the hub's reason.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repo, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repo, revision=revision or None, allow_patterns=["config.json", "*.safetensors"]
            )
        )
    except HFValidationError as error:
        raise UserError(f"{field}: hf:{name}: {error}") from None
    except Exception as error:  # the hub's client raises many types, by transport and version
        raise UserError(
            f"{field}: hf:{name} is not in the hub's cache and can't be downloaded "
            f"({_reason(error)}); connect to the hub, or run `hf download {repo}` on a machine "
            f"that reaches it and set {field} to that folder"
        ) from None


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
        raise UserError(f"{repo}: not pushed to {api.endpoint}: {_reason(error)}") from None
    return commit.commit_url


_ADVICE = {
    401: "log in with `hf auth login` or set HF_TOKEN",
    403: "the token that is set may not do this",
    404: "no such repository or revision, or no access to it",
    500: "a fault of the hub, try again later",
}


def _reason(error: BaseException) -> str:
    """The status that the hub answered, wherever in the chain of errors, or the error in a line."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            advice = _ADVICE.get(status)
            return f"it answered {status}: {advice}" if advice else f"it answered {status}"
        cause = cause.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
