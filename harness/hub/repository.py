"""List, download and upload the files of hub repositories. The server is `HF_ENDPOINT`, by default https://huggingface.co.

The token is the one of `hf auth login` or `HF_TOKEN`. Nothing that is downloaded is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from models.files import ENVIRONMENT_ERRNOS, reason
from models.loading.hub import interruption, quiet, refusal
from models.registry import UserError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""The name of a repository: OWNER/NAME."""
BUSY = (429, 502, 503, 504)
"""Statuses of a server that has too much to do."""
THREADS = 8
"""Files that are downloaded at the same time."""


class Listing(NamedTuple):
    """The commit of a repository (40 hex digits), and its files with their sizes in bytes."""

    commit: str
    sizes: dict[str, int]


def check_name(repository: str) -> None:
    """Raise UserError for a text that is not the name of a hub repository."""
    if not NAME.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UserError(f"{repository!r} is not the name of a hub repository: give OWNER/NAME, such as my-lab/records.")


def list_files(repository: str, kind: str = "dataset", revision: str | None = None) -> Listing:
    """Return the commit and the files of a repository.

    Args:
        repository: OWNER/NAME.
        kind: "dataset" or "model".
        revision: a branch, a tag or a commit; None: the main branch.

    Raises:
        UserError: the repository does not exist or the hub cannot be reached.
    """
    check_name(repository)
    with _requests(repository, kind, "read") as api:
        info: Any = api.repo_info(repository, repo_type=kind, revision=revision, files_metadata=True)
    return Listing(str(info.sha), {file.rfilename: file.size or 0 for file in info.siblings or ()})


def download(repository: str, commit: str, names: Sequence[str], kind: str = "dataset") -> tuple[Path, dict[str, Path]]:
    """Return the folder of the cache that holds a repository, and the paths of files in it.

    Downloads the files that are not in the cache. Raises UserError as `list_files`, or if a file cannot be stored.
    """
    check_name(repository)
    with _requests(repository, kind, "read") as api:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        def fetch(name: str) -> Path:
            return Path(api.hf_hub_download(repository, name, repo_type=kind, revision=commit))

        with ThreadPoolExecutor(THREADS) as pool:
            paths = dict(zip(names, pool.map(fetch, names), strict=True))
        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind), paths


def create(repository: str, kind: str = "dataset", private: bool = False) -> None:
    """Create a repository unless it exists. Raises UserError as `upload`."""
    check_name(repository)
    with _requests(repository, kind, "write") as api:
        api.create_repo(repository, repo_type=kind, private=private or None, exist_ok=True)


def upload(
    repository: str, files: Mapping[str, Path | bytes], message: str, kind: str = "dataset", private: bool = False
) -> str:
    """Upload files in one commit, and return its address. The repository is created if it does not exist.

    Args:
        repository: OWNER/NAME.
        files: paths in the repository, and the file or the bytes of each.
        message: message of the commit.
        kind: "dataset" or "model".
        private: create a repository that only its owner sees. An existing one stays as it is.

    Raises:
        UserError: the hub cannot be reached, or it refuses, for example without a token that may write.
    """
    create(repository, kind, private)
    with _requests(repository, kind, "write") as api:
        from huggingface_hub import CommitOperationAdd

        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content)) for name, content in files.items()
        ]
        return str(api.create_commit(repository, operations, commit_message=message, repo_type=kind).commit_url)


def endpoint() -> str:
    """Return the address of the hub."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def web_address(address: str) -> str:
    """Return the page of a file of a hub dataset, from its address hf://datasets/OWNER/NAME@COMMIT/PATH."""
    repository, _, rest = address.removeprefix("hf://datasets/").partition("@")
    commit, _, path = rest.partition("/")
    return f"{endpoint()}/datasets/{repository}/blob/{commit}/{quote(path)}"


@contextmanager
def _requests(repository: str, kind: str, action: str) -> Iterator[HfApi]:
    """Yield the client of the hub, without its progress bars and warnings. Its errors become UserError.

    Args:
        repository: OWNER/NAME, for messages.
        kind: "dataset" or "model".
        action: "read" or "write", for messages.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    where = f"hub {kind} {repository!r}"
    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        with quiet():
            yield HfApi(library_name="perennial")
    except UserError:
        raise
    except RevisionNotFoundError as error:
        raise UserError(f"The {where} does not have that revision: give a branch, a tag or a commit.") from error
    except HfHubHTTPError as error:
        if known := refusal(error, repository, kind):
            raise UserError(known) from error
        status = error.response.status_code if error.response is not None else None
        if action == "write" and status in (401, 403):
            owner = repository.partition("/")[0]
            raise UserError(
                f"The hub does not let you write to {repository!r}: run `hf auth login` with a token that may write to {owner}."
            ) from error
        if status in (401, 404) or isinstance(error, RepositoryNotFoundError):
            raise UserError(
                f"The hub has no {kind} {repository!r}, or it is private: check the name, or run `hf auth login`."
            ) from error
        if status in BUSY:
            raise UserError(
                f"The hub is busy and did not {action} the {where} ({first_line(error)}): run the same command again later."
            ) from error
        raise UserError(f"The hub refused to {action} the {where}: {first_line(error)}.") from error
    except OSError as error:
        if error.errno in ENVIRONMENT_ERRNOS:  # all others are failures of the network
            place = f" in {error.filename}" if error.filename else ""
            raise UserError(f"The files of the {where} cannot be stored{place}: {reason(error)}.") from error
        raise _unreachable(where, error) from error
    except Exception as error:  # httpx, requests and their transports raise many classes
        raise _unreachable(where, error) from error
    finally:
        if shown:
            enable_progress_bars()


def _unreachable(where: str, error: Exception) -> UserError:
    """Return the error for a hub that cannot be reached."""
    why = interruption(error) or first_line(error)
    return UserError(
        f"The hub cannot be reached for the {where} ({why}): check the network and HF_ENDPOINT, and run the same command again."
    )
