"""A deployment's values: Azure's defaults, and nothing out of range."""

from __future__ import annotations

import dataclasses

import pytest

from batchscore.deployment import AZURE_TIMEOUT, Deployment, RetrySettings
from batchscore.errors import UsageError

PLAIN = Deployment(file="deployment.yml", style="settings", name="d", endpoint_name="e")


def test_defaults_are_azures_but_for_the_timeout():
    assert (PLAIN.instance_count, PLAIN.max_concurrency_per_instance, PLAIN.mini_batch_size) == (1, 1, 10)
    assert (PLAIN.output_action, PLAIN.output_file_name, PLAIN.logging_level) == (
        "append_row", "predictions.csv", "info",
    )  # fmt: skip
    assert PLAIN.error_threshold == -1
    assert PLAIN.retry_settings == RetrySettings(max_retries=3, timeout=600)
    assert AZURE_TIMEOUT == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instance_count", 0), ("max_concurrency_per_instance", 0), ("mini_batch_size", 0), ("mini_batch_size", True),
        ("error_threshold", -2), ("error_threshold", 2**31), ("mini_batch_size", 1.5), ("output_action", "append"),
        ("logging_level", "shout"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be .* found {value!r}"):
        dataclasses.replace(PLAIN, **{name: value})


@pytest.mark.parametrize("settings", [{"max_retries": -1}, {"timeout": 0}, {"timeout": 30.5}])
def test_retry_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match="whole number from"):
        RetrySettings(**settings)


def test_a_deployment_shows_no_environment_variable():
    assert "s3cret" not in repr(dataclasses.replace(PLAIN, environment_variables=(("TOKEN", "s3cret"),)))
