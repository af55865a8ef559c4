"""Prompt sets from a file of the user's: CSV, JSON lines or plain text. Every complaint names file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from geoaudit.errors import DataMissing, RequestError, UnknownName, did_you_mean
from geoaudit.prompts.order import in_order
from geoaudit.records import Prompt, PromptSet

UNCATEGORISED = "uncategorised"
"""Category of every prompt of a file whose category column was not named."""

_Cells = tuple[int, str, str]
"""Line number from 1, text, category."""


def load_file(
    path: Path,
    *,
    text_column: str = "prompt",
    label: Literal["harmful", "harmless"],
    category_column: str | None = None,
) -> PromptSet:
    """The prompts of a `.csv` (with a header), `.jsonl` (an object a line) or `.txt` (a prompt a line) file.

    UTF-8, with or without a byte-order mark, any line ends. Ids are the first 12 hex digits of the text's SHA-256, so
    that they do not change when rows are moved. CSV and JSON texts are taken exactly; the lines of a text file are
    stripped. Blank lines between rows are passed over; a row whose text is blank is an error, and so is a text twice.

    Args:
        path: The file; its suffix says the format.
        text_column: CSV column or JSON key of the prompt. Unused for text files.
        label: What the prompts are; one file holds one kind.
        category_column: CSV column or JSON key of the category; None puts all under `uncategorised`.

    Raises:
        DataMissing: if the file cannot be read.
        UnknownName: if a named column does not exist.
        RequestError: if the file is not of its format, has a blank or repeated prompt, or no prompt at all.
    """
    if label not in ("harmful", "harmless"):
        raise RequestError(f"label of {path} must be 'harmful' or 'harmless', got {label!r}")
    text = _read(path)
    match path.suffix.lower():
        case ".csv":
            rows = _csv_rows(path, text, text_column, category_column)
        case ".jsonl":
            rows = _jsonl_rows(path, text, text_column, category_column)
        case ".txt":
            if category_column is not None:
                raise UnknownName(f"{path}: a text file has no column {category_column!r}; use CSV or JSON lines")
            rows = _text_rows(text)
        case suffix:
            raise RequestError(f"{path}: cannot tell the format from the suffix {suffix!r}; use .csv, .jsonl or .txt")
    prompts: list[Prompt] = []
    first_line: dict[str, int] = {}
    for line, prompt, category in rows:
        if not prompt.strip():
            raise RequestError(f"{path}:{line}: the prompt is empty")
        if prompt in first_line:
            raise RequestError(
                f"{path}:{line}: this prompt is already on line {first_line[prompt]}; remove one of them"
            )
        first_line[prompt] = line
        prompts.append(Prompt(_content_id(path, line, prompt), prompt, label, category))
    if not prompts:
        raise RequestError(f"{path}: no prompts in this file")
    return PromptSet(path.name, in_order(prompts), f"the file {path.name}", "the user's")


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataMissing(f"no such prompt file: {path}") from None
    except OSError as error:
        raise DataMissing(f"cannot read the prompt file {path}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None


def _csv_rows(path: Path, text: str, text_column: str, category_column: str | None) -> Iterator[_Cells]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        for column in (text_column, category_column):
            if column is not None and header.count(column) != 1:
                found = "is there twice" if column in header else f"does not exist{did_you_mean(column, header)}"
                raise UnknownName(f"{path}:1: column {column!r} {found}; columns: {', '.join(header) or 'none'}")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise RequestError(
                        f"{path}:{line}: {len(cells)} cells where the header has {len(header)}; "
                        "put quotes around a cell that holds a comma, a quote or a line break"
                    )
                row = dict(zip(header, cells, strict=True))
                yield line, row[text_column], _category(path, line, row, category_column)
            line = reader.line_num + 1
    except csv.Error as error:
        raise RequestError(f"{path}:{line}: not CSV: {error}") from None


def _jsonl_rows(path: Path, text: str, text_column: str, category_column: str | None) -> Iterator[_Cells]:
    # Only "\n" ends a row: str.splitlines would also cut at characters that JSON allows inside a string.
    for line, source in enumerate(text.split("\n"), start=1):
        if not source.strip():
            continue
        try:
            row = json.loads(source)
        except json.JSONDecodeError as error:
            raise RequestError(f"{path}:{line}:{error.colno}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise RequestError(f"{path}:{line}: each line must be a JSON object, got {type(row).__name__}")
        if text_column not in row:
            raise UnknownName(
                f"{path}:{line}: no key {text_column!r}{did_you_mean(text_column, row)}; "
                f"keys: {', '.join(row) or 'none'}"
            )
        if not isinstance(row[text_column], str):
            raise RequestError(f"{path}:{line}: {text_column!r} must be text, got {type(row[text_column]).__name__}")
        yield line, row[text_column], _category(path, line, row, category_column)


def _text_rows(text: str) -> Iterator[_Cells]:
    for line, source in enumerate(text.split("\n"), start=1):
        if source.strip():
            yield line, source.strip(), UNCATEGORISED


def _category(path: Path, line: int, row: dict[str, Any], column: str | None) -> str:
    if column is None:
        return UNCATEGORISED
    if column not in row:
        raise UnknownName(f"{path}:{line}: no key {column!r}{did_you_mean(column, row)}; keys: {', '.join(row)}")
    category = row[column]
    if not isinstance(category, str) or not category.strip():
        raise RequestError(
            f"{path}:{line}: the category in {column!r} must be text that is not empty, got {category!r}"
        )
    return category


def _content_id(path: Path, line: int, text: str) -> str:
    try:
        return hashlib.sha256(text.encode()).hexdigest()[:12]
    except UnicodeEncodeError:
        raise RequestError(f"{path}:{line}: the prompt holds half of a surrogate pair, which is no character") from None
