"""Files and folders, here and on stores: paths, listing, reading by ranges, and outputs that appear whole."""

from __future__ import annotations

from batchscore.storage.access import Access, access_of, in_use, using
from batchscore.storage.addresses import family_of, has_store, is_remote, is_within, parent_and_name, public
from batchscore.storage.blocks import NEW
from batchscore.storage.local import (
    Ready,
    commit,
    link_or_copy,
    local_path,
    prepare,
    prepare_link,
    sha256_of,
    storage_errors,
    sync_all,
    sync_file,
    sync_folder,
)
from batchscore.storage.places import Folder, Place, clear_folder, publish
from batchscore.storage.reading import can_be_cut, download, facts_of, local_copies, open_stored
from batchscore.storage.retrying import Changed, NoSuchStore
from batchscore.storage.storeplace import StorePlace, place_of
from batchscore.storage.stores import Facts, StoredFile, filesystem_of, packages_for, store_of

__all__ = [
    "NEW",
    "Access",
    "Changed",
    "Facts",
    "Folder",
    "NoSuchStore",
    "Place",
    "Ready",
    "StorePlace",
    "StoredFile",
    "access_of",
    "can_be_cut",
    "clear_folder",
    "commit",
    "download",
    "facts_of",
    "family_of",
    "filesystem_of",
    "has_store",
    "in_use",
    "is_remote",
    "is_within",
    "link_or_copy",
    "local_copies",
    "local_path",
    "open_stored",
    "packages_for",
    "parent_and_name",
    "place_of",
    "prepare",
    "prepare_link",
    "public",
    "publish",
    "sha256_of",
    "storage_errors",
    "store_of",
    "sync_all",
    "sync_file",
    "sync_folder",
    "using",
]
