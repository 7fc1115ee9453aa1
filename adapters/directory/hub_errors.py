"""Errors of requests to the Hugging Face hub, for people."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Return in one line why the hub request failed and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # These two only say that the cache has no copy either, or which file it was.
    if isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return reason(error.__cause__)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the hub's cache on this machine does not have it"
    if isinstance(error, HFValidationError):
        return "no model on the hub can have this name"
    if isinstance(error, GatedRepoError):
        return "this model is gated: request access on its page on the hub"
    if isinstance(error, RepositoryNotFoundError):
        return (
            "the hub has no model of this name, or none that you may see (for a private one: "
            "`hf auth login`, or set HF_TOKEN)"
        )
    if isinstance(error, RevisionNotFoundError):
        return "the hub has no such revision of this model"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the hub does not accept your token: `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return "the hub says that your token does not allow this"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"the request to the hub failed ({': '.join([type(error).__name__, *lines[:1]])})"
