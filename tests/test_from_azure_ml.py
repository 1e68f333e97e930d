"""The page for those who come from Azure ML: its keys are those that the code reads."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

from batchscore.azure.keys import dotted_keys, endpoint_keys
from batchscore.azure.overrides import INVOKE_NAMES
from batchscore.deployment import Deployment, RetrySettings, Style

PAGE = (ROOT / "docs" / "from-azure-ml.md").read_text()


def rows(title: str) -> list[list[str]]:
    """The cells of the tables right below a heading, without the tables' heads."""
    section = re.split(rf"^#+ {re.escape(title)}$", PAGE, flags=re.MULTILINE)[1]
    lines = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def keys(title: str, column: int = 0) -> list[str]:
    return [key for row in rows(title) for key in re.findall(r"`([^`]+)`", row[column])]


@pytest.mark.parametrize("style", ["settings", "root"])
def test_the_page_has_every_key_of_a_deployment_and_no_other(style: Style) -> None:
    documented = keys("Settings", 0 if style == "settings" else 1) + keys("Keys of both styles")
    if style == "root":
        documented += keys("Keys of the older style alone")
    assert sorted(documented) == sorted(dotted_keys(style))


def test_the_page_has_every_key_of_an_endpoint_and_no_other() -> None:
    assert sorted(keys("Endpoint YAML")) == sorted(endpoint_keys())


def test_the_page_has_every_name_that_invoke_overrides_and_no_other() -> None:
    assert sorted(keys("Names that `--set` takes in both styles")) == sorted(INVOKE_NAMES)
    assert set(keys("Names that `--set` takes in both styles", 1)) <= set(dotted_keys("settings"))


def test_the_defaults_on_the_page_are_those_of_a_deployment() -> None:
    plain = Deployment(file="", style="settings", name="d", endpoint_name="e", retry_settings=RetrySettings())
    documented = {
        key.rpartition(".")[2]: row[2].strip("`")
        for row in rows("Settings")
        for key in re.findall(r"`([^`]+)`", row[0])
    }
    stated = {name: value for name, value in documented.items() if value}
    assert stated == {
        name: str(getattr(plain.retry_settings if name in {"max_retries", "timeout"} else plain, name))
        for name in stated
    }
    assert len(stated) == 9


def test_every_row_has_as_many_cells_as_its_head() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_links_within_the_page_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
