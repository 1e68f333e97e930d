"""Credentials of stores: what fsspec's file systems are told, so that none goes looking for some by itself."""

from __future__ import annotations

import os
from typing import Any

from batchscore.errors import UsageError
from batchscore.storage.access import Access
from batchscore.storage.addresses import account_host, split_query

ASK = "default_credentials"
"""The storage option by which a user asks for the cloud's own chain: metadata services, logins, configuration files."""
_AZURE_KEYS = ("connection_string", "account_key", "sas_token", "client_id")


def azure_arguments(url: str, access: Access) -> dict[str, Any]:
    """For adlfs. The first of these counts: a SAS token in the address, options, AZURE_STORAGE_… variables."""
    options = access.options_for("azure")
    by_default = options.pop(ASK, False)
    host = account_host(url)
    account = host.partition(".")[0] or options.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    token = split_query(access.as_given(url) or url)[1]
    given = {name: options[name] for name in _AZURE_KEYS if name in options} or (
        {}
        if token
        else {name: value for name in _AZURE_KEYS if (value := os.environ.get(f"AZURE_STORAGE_{name.upper()}"))}
    )
    rest = {name: value for name, value in options.items() if name not in _AZURE_KEYS}
    rest |= {"account_name": account} if account else {}
    if token or "sas_token" in given:
        key = f"SharedAccessSignature={(token or given['sas_token']).lstrip('?')}"
        return {**rest, "connection_string": _connection(url, host, account, key)}
    if "connection_string" in given:
        _refuse_other_account(url, host, given["connection_string"])
        return {**rest, "connection_string": given["connection_string"]}
    if "account_key" in given:
        key = f"AccountName={account};AccountKey={given['account_key']}"
        return {**rest, "connection_string": _connection(url, host, account, key)}
    if "client_id" in given or options.get("anon") is True or by_default is True:
        _account_or_refuse(url, account)
        return {**rest, **given, "anon": options.get("anon") is True}
    raise UsageError(
        f"{url}: no credentials were given. Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
        "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or the same as --storage-option account_name=…; "
        f"a public container needs --storage-option anon=true, the login of this machine --storage-option {ASK}=true"
    )


def _account_or_refuse(url: str, account: str | None) -> str:
    if not account:
        raise UsageError(
            f"{url} names no storage account; write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…, or give "
            "--storage-option account_name=ACCOUNT"
        )
    return account


def _connection(url: str, host: str, account: str | None, key: str) -> str:
    """A connection string, which goes before every variable that adlfs reads by itself."""
    name = _account_or_refuse(url, account)
    place = host.replace(".dfs.", ".blob.") if host else f"{name}.blob.core.windows.net"
    return f"BlobEndpoint=https://{place};{key}"


def _refuse_other_account(url: str, host: str, connection_string: str) -> None:
    """Refuse a connection string for another account than the address names: adlfs would read from that one."""
    parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    account, stated = host.partition(".")[0], parts.get("AccountName", "")
    if account and stated and account != stated:
        raise UsageError(
            f"{url} lies in the storage account {account}, and the connection string is for {stated}; "
            "give that of the address's account, or other credentials"
        )


def s3_arguments(url: str, access: Access) -> dict[str, Any]:
    """For s3fs: options, else the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."""
    options = access.options_for("s3")
    by_default = options.pop(ASK, False)
    has_keys = any(name in options for name in ("key", "profile")) or options.get("anon") is True
    if (
        not has_keys
        and by_default is not True
        and not {"AWS_ACCESS_KEY_ID", "AWS_PROFILE"} & {name for name, value in os.environ.items() if value}
    ):
        raise UsageError(
            f"{url}: no credentials were given. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL "
            "for a store other than Amazon's), or AWS_PROFILE, or --storage-option key=… and secret=…; a public bucket "
            f"needs --storage-option anon=true, the login of this machine --storage-option {ASK}=true"
        )
    config = {"retries": {"max_attempts": 0}, "connect_timeout": 10, "read_timeout": 60}
    return {
        **options,
        "config_kwargs": {**config, **options.get("config_kwargs", {})},
        "use_listings_cache": False,
    }


def gs_arguments(url: str, access: Access) -> dict[str, Any]:
    """For gcsfs: the option `token`, else the file that GOOGLE_APPLICATION_CREDENTIALS names."""
    options = access.options_for("gs")
    by_default, is_public = options.pop(ASK, False), options.pop("anon", False)
    token = options.pop("token", None) or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if is_public is True or (not token and os.environ.get("STORAGE_EMULATOR_HOST")):
        token = "anon"  # noqa: S105  # gcsfs' word for none
    elif by_default is True:
        token = "google_default"  # noqa: S105  # gcsfs' word for the chain
    if not token:
        raise UsageError(
            f"{url}: no credentials were given. Set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give "
            "--storage-option token=FILE; a public bucket needs --storage-option anon=true, the login of this machine "
            f"--storage-option {ASK}=true"
        )
    return {**options, "token": token, "use_listings_cache": False}


def azureml_arguments(url: str, access: Access) -> dict[str, Any]:
    """For azureml-fsspec, which knows no credentials but the cloud's own chain."""
    if "/paths/" not in url:
        raise UsageError(f"{url} names no datastore; write azureml://subscriptions/…/datastores/NAME/paths/PATH")
    if access.options_for("azureml").get(ASK) is not True:
        raise UsageError(
            f"{url}: azureml:// is reached by the login of this machine alone; "
            f"ask for it with --storage-option {ASK}=true"
        )
    return {"uri": f"{url.partition('/paths/')[0]}/paths/"}
