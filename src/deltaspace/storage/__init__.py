"""Files, written atomically and checked when they are read; the Hub; where models' files are. Needs no torch to be imported."""

from deltaspace.storage.atomic import (
    cache_folder,
    clear_left,
    read_json,
    replacing,
    replacing_folder,
    write_copy,
    write_json,
    write_text,
)
from deltaspace.storage.digests import digest, file_digest, seal_holds, sealed
from deltaspace.storage.hub import download, fetch, push_to_hub
from deltaspace.storage.models import hub_name, model_fingerprint, model_folder
from deltaspace.storage.tensors import check_format, read_metadata, read_packed, read_tensors, vector_location, write_tensors

__all__ = [
    "cache_folder",
    "check_format",
    "clear_left",
    "digest",
    "download",
    "fetch",
    "file_digest",
    "hub_name",
    "model_fingerprint",
    "model_folder",
    "push_to_hub",
    "read_json",
    "read_metadata",
    "read_packed",
    "read_tensors",
    "replacing",
    "replacing_folder",
    "seal_holds",
    "sealed",
    "vector_location",
    "write_copy",
    "write_json",
    "write_tensors",
    "write_text",
]
