"""Files of Hugging Face repositories, with failures as one sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.files import ENVIRONMENT_ERRNOS, reason
from models.registry import UserError, first_line


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of open_clip (each step, on the root logger), the hub (each failed attempt) and transformers."""
    loggers = [logging.getLogger(name) for name in (None, "huggingface_hub", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def refusal(error: BaseException, repository: str, kind: str = "model") -> str | None:
    """Return a sentence about a repository that asks for consent, or a token that is not valid; None for another error.

    Args:
        error: an error of the hub's client, or of a library that it caused.
        repository: OWNER/NAME.
        kind: "model" or "dataset".
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    for cause in causes(error):
        # `datasets` cuts the chain of its errors, and leaves the sentence.
        if isinstance(cause, GatedRepoError) or "is a gated dataset on the Hub" in str(cause):
            page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repository}"
            return (
                f"The hub {kind} {repository!r} is open only to users whom its owner has accepted: ask for access on {page}, "
                "then run `hf auth login`."
            )
        if isinstance(cause, HfHubHTTPError) and "Invalid credentials" in (cause.response.headers.get("X-Error-Message") or ""):
            return "The hub does not know your token: run `hf auth login`, or correct HF_TOKEN."
    return None


def interruption(error: BaseException) -> str | None:
    """Return the lost connection, or the failure inside the server, that led to an error. None for another error."""
    from huggingface_hub.errors import HfHubHTTPError

    for cause in causes(error):
        if isinstance(cause, HfHubHTTPError):
            return first_line(cause) if cause.response.status_code >= 500 else None
        if type(cause).__module__.partition(".")[0].removesuffix("2") in ("httpx", "httpcore", "requests", "urllib3"):
            return first_line(cause)
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def file(repository: str, names: Sequence[str], what: str) -> Path:
    """Return the local path of the first of the named files that the repository has. Downloads it if it is not in the cache.

    Raises:
        UserError: the repository or the file does not exist, or the file is not in the cache and cannot be downloaded.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(_request(huggingface_hub.hf_hub_download, repository, what, filename=name))
        except LocalEntryNotFoundError as error:
            raise _unreachable(repository, what) from error
        except EntryNotFoundError:
            continue
    raise UserError(f"The hub repository {repository!r} has no {' or '.join(names)}, so it has no {what} for open_clip.")


def optional(repository: str, name: str) -> Path | None:
    """Return the local path of a file that most repositories do not have, or None. Raises UserError."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(_request(huggingface_hub.hf_hub_download, repository, name, filename=name))
    except EntryNotFoundError:  # also where the hub cannot be reached
        return None


def folder(repository: str, patterns: Sequence[str], what: str) -> Path:
    """Return the local folder with the files of the repository that match the patterns. Raises UserError."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(_request(huggingface_hub.snapshot_download, repository, what, allow_patterns=list(patterns)))
    except EntryNotFoundError as error:
        raise _unreachable(repository, what) from error


def _request(download: Callable[..., str], repository: str, what: str, **arguments: Any) -> str:
    """Call a function of huggingface_hub, with its errors as UserError except for a missing file."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        with quiet():
            return download(repo_id=repository, **arguments)
    except EntryNotFoundError:
        raise
    except RepositoryNotFoundError as error:  # also a repository that asks for consent
        if known := refusal(error, repository):
            raise UserError(known) from error
        raise UserError(
            f"The hub has no repository {repository!r}, or it is private: check the name, or run `hf auth login`."
        ) from error
    except HFValidationError as error:
        raise UserError(f"{repository!r} is not the name of a hub repository; give hf-hub:OWNER/NAME.") from error
    except HfHubHTTPError as error:
        if known := refusal(error, repository):
            raise UserError(known) from error
        raise UserError(f"The hub refused the {what} of {repository!r}: {first_line(error)}.") from error
    except OSError as error:
        if error.errno in ENVIRONMENT_ERRNOS:  # all others are failures of the network
            where = f" in {error.filename}" if error.filename else ""
            raise UserError(f"The {what} of {repository!r} cannot be stored{where}: {reason(error)}.") from error
        raise _unreachable(repository, what) from error
    except Exception as error:  # httpx, requests and their transports raise many classes
        raise _unreachable(repository, what, f" ({first_line(error)})") from error


def _unreachable(repository: str, what: str, why: str = "") -> UserError:
    """Return the error for a file that is not in the cache while the hub cannot be reached."""
    return UserError(
        f"The {what} of the hub repository {repository!r} is not in the cache, and the hub cannot be reached{why}: connect "
        "once to download it, or download the repository elsewhere and give its folder as a model directory."
    )
