"""Files, written atomically and checked when they are read; the Hub; where models' files are. Needs no torch to be imported."""

from deltaspace.storage.atomic import (
    cache_folder,
    clear_left,
    is_temporary,
    replacing,
    replacing_folder,
    scratch_folder,
    write_copy,
    write_json,
    write_text,
)
from deltaspace.storage.digests import digest, file_digest, seal_holds, sealed
from deltaspace.storage.hub import download, fetch, hub_answers, push_to_hub
from deltaspace.storage.json_text import checked_text, parse_json
from deltaspace.storage.models import gguf_of, hub_name, model_fingerprint, model_folder
from deltaspace.storage.outputs import (
    ExportKind,
    check_apart,
    check_export,
    check_output,
    check_writable,
    exporting,
    is_exported,
    output,
)
from deltaspace.storage.packages import check_digest, distribution
from deltaspace.storage.paths import path_of, resolved
from deltaspace.storage.reading import read_json, readable, walk, what_is_at
from deltaspace.storage.tensors import (
    as_documented,
    check_format,
    read_metadata,
    read_packed,
    read_tensors,
    vector_location,
    write_tensors,
)

__all__ = [
    "ExportKind",
    "as_documented",
    "cache_folder",
    "check_digest",
    "check_apart",
    "check_export",
    "check_writable",
    "check_format",
    "check_output",
    "checked_text",
    "clear_left",
    "digest",
    "distribution",
    "download",
    "exporting",
    "fetch",
    "file_digest",
    "hub_answers",
    "gguf_of",
    "hub_name",
    "is_exported",
    "is_temporary",
    "model_fingerprint",
    "model_folder",
    "output",
    "parse_json",
    "path_of",
    "push_to_hub",
    "read_json",
    "read_metadata",
    "read_packed",
    "read_tensors",
    "readable",
    "replacing",
    "replacing_folder",
    "resolved",
    "scratch_folder",
    "seal_holds",
    "sealed",
    "vector_location",
    "walk",
    "write_copy",
    "write_json",
    "write_tensors",
    "what_is_at",
    "write_text",
]
