"""Build tokenizers of open_clip models without running code of a model directory or repository.

The tokenizer of CLIP, CoCa and EVA-02 ships with open_clip, and a model directory may contain other merges. Others (SigLIP's)
are files of transformers. transformers would import Python files that `tokenizer_config.json` names, or look its class up by
name. Here the files are checked first, and `trust_remote_code` is False.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.files import read_text, reason
from models.loading import hub
from models.registry import UserError, first_line

Tokenizer = Callable[..., Tensor]
"""Strings -> ids [B, context]. open_clip's tokenizers also take `context_length`."""
MERGES = "bpe.txt.gz"
# Bytes after unpacking. CLIP's merges have 3 MB.
LARGEST_MERGES = 64_000_000
CONTEXT = 77
# Files from which transformers reads a vocabulary. None of these formats contains code.
VOCABULARIES = ("tokenizer.json", "*.model", "*.spm", "vocab.json", "vocab.txt", "merges.txt")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
# Classes of transformers that read only such files, without the suffix "Fast".
CLASSES = {
    *("PreTrainedTokenizer", "TokenizersBackend", "SentencePieceBackend"),
    *("AlbertTokenizer", "BartTokenizer", "BertTokenizer", "CamembertTokenizer", "CLIPTokenizer", "CodeGenTokenizer"),
    *("DebertaTokenizer", "DebertaV2Tokenizer", "DistilBertTokenizer", "ElectraTokenizer", "GPT2Tokenizer", "GemmaTokenizer"),
    *("LlamaTokenizer", "M2M100Tokenizer", "MBartTokenizer", "MBart50Tokenizer", "MPNetTokenizer", "MT5Tokenizer"),
    *("NllbTokenizer", "Qwen2Tokenizer", "RobertaTokenizer", "SiglipTokenizer", "Siglip2Tokenizer", "T5Tokenizer"),
    *("XLMRobertaTokenizer", "XLNetTokenizer"),
}


def build(text_cfg: Mapping[str, Any], name: str, directory: Path | None = None, merges: Path | None = None) -> Tokenizer:
    """Build the tokenizer of a model whose `text_cfg` is open_clip's or has been checked by `model_config`.

    Args:
        text_cfg: the model's text settings.
        name: the model's name, for messages.
        directory: the model directory, whose files are used instead of those of `hf_tokenizer_name`. None: the repository's.
        merges: the merges of CLIP's tokenizer; None, or a missing file: CLIP's.

    Returns:
        A callable, strings -> ids [B, context].

    Raises:
        UserError: files are missing or damaged, cannot be downloaded, or name code.
    """
    from open_clip.tokenizer import HFTokenizer

    context = text_cfg.get("context_length", CONTEXT)
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    repository = text_cfg.get("hf_tokenizer_name")
    try:
        if repository:
            folder = _files(repository, name, directory)
            with hub.quiet():
                hub_tokenizer: Tokenizer = HFTokenizer(
                    str(folder),
                    context_length=context,
                    tokenizer_mode=text_cfg.get("tokenizer_mode"),
                    trust_remote_code=False,
                    local_files_only=True,
                    **options,
                )
            return hub_tokenizer
        if merges is not None and merges.is_file():
            options |= {"bpe_path": str(merges), "sha256": _check_merges(merges)}
        return _simple_tokenizer(json.dumps({"context_length": context, **options}, sort_keys=True))
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"There is not enough memory for the tokenizer of {name!r}.") from error
    except Exception as error:  # transformers and tokenizers raise any class for damaged files
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"Cannot build the tokenizer of {name!r} from its files ({cause}).") from error


@functools.lru_cache(maxsize=4)
def _simple_tokenizer(settings: str) -> Tokenizer:
    """Return CLIP's tokenizer with these settings (JSON). Models share it: reading the merges takes a tenth of a second."""
    from open_clip.tokenizer import SimpleTokenizer

    options = json.loads(settings)
    options.pop("sha256", None)
    tokenizer: Tokenizer = SimpleTokenizer(**options)
    return tokenizer


def _files(repository: str, name: str, directory: Path | None) -> Path:
    """Return the folder with the tokenizer's files, after checking them."""
    if directory is None:
        try:
            folder = hub.folder(repository, (*VOCABULARIES, *SETTINGS), "tokenizer")
        except UserError as error:
            raise UserError(f"Cannot get the tokenizer of {name!r}: {error}") from error
    else:
        folder = directory
    if not any(path.is_file() for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise UserError(
            f"Cannot get the tokenizer of {name!r}: {folder} contains none of {', '.join(VOCABULARIES)}. Copy the tokenizer's "
            f"files of {repository} there."
        )
    for settings in SETTINGS:
        if (folder / settings).is_file():
            _check_settings(folder / settings, name)
    return folder


def _check_settings(path: Path, name: str) -> None:
    """Raise UserError for settings that name Python code, or a class that is not one of transformers' tokenizers."""
    try:
        settings = json.loads(read_text(path, "utf-8-sig"))
    except OSError as error:
        raise UserError(f"The file {path} of the model {name!r} cannot be read: {reason(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"The file {path} of the model {name!r} is not JSON: {first_line(error)}.") from error
    if not isinstance(settings, dict):
        raise UserError(f"The file {path} of the model {name!r} is not a JSON object.")
    if settings.get("auto_map"):
        raise UserError(
            f"The model {name!r} has Python code for its tokenizer ({path.name} has auto_map), and code of a model is never "
            "run. Use a tokenizer that is one of transformers' classes."
        )
    kind = settings.get("tokenizer_class")
    if kind is not None and (not isinstance(kind, str) or kind.removesuffix("Fast") not in CLASSES):
        raise UserError(
            f"The model {name!r} asks for the tokenizer class {kind!r} ({path.name}), which is not one of the classes of "
            "transformers that are known to read only vocabularies."
        )


def _check_merges(path: Path) -> str:
    """Return the SHA-256 of unpacked merges.

    Raises UserError for merges that are not gzipped text, or that would fill the memory when unpacked.
    """
    try:
        with gzip.open(path) as opened:
            content = opened.read(LARGEST_MERGES + 1)
        content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"The merges {path} are damaged or not gzipped text: {first_line(error)}.") from error
    if len(content) > LARGEST_MERGES:
        raise UserError(
            f"The merges {path} unpack to more than {LARGEST_MERGES:,} bytes, so they are not a vocabulary of CLIP."
        )
    return hashlib.sha256(content).hexdigest()
