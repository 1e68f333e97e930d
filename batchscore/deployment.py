"""A batch deployment, as Azure ML knows it: values only, paths resolved, defaults filled in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from batchscore.errors import UsageError
from batchscore.limits import Limit, Share, as_json
from batchscore.redaction import redact

Style = Literal["settings", "root"]
"""Where the settings stand: under `settings:` (with `type: model`), or at the root (older, without a type)."""
OutputAction = Literal["append_row", "summary_only"]
LoggingLevel = Literal["warning", "info", "debug"]
ModelType = Literal["custom_model", "mlflow_model", "triton_model"]

AZURE_TIMEOUT = 30
"""Seconds that Azure gives a mini-batch where the YAML is silent."""

LEAST = {
    "instance_count": 1,
    "max_concurrency_per_instance": 1,
    "mini_batch_size": 1,
    "max_retries": 0,
    "timeout": 1,
    "error_threshold": -1,
}
INT_MAX = (1 << 31) - 1
"""Azure's int.MaxValue."""


def _refuse_out_of_range(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or not LEAST[name] <= value <= INT_MAX:
            raise UsageError(f"{name} must be a whole number from {LEAST[name]} to {INT_MAX}, found {value!r}")


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often and how long a mini-batch is tried."""

    max_retries: int = 3
    """Attempts after the first."""
    timeout: int = 600
    """Seconds for each mini-batch. Where the YAML is silent this isn't Azure's value, which is AZURE_TIMEOUT."""

    def __post_init__(self) -> None:
        _refuse_out_of_range(self, "max_retries", "timeout")


@dataclass(frozen=True, slots=True)
class CodeConfiguration:
    """A scoring script and the folder that goes with it."""

    code: str
    """An existing folder, absolute."""
    scoring_script: str
    """An existing file, relative to `code`."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model given by its path; whether anything lies there is found out when it is resolved."""

    path: str
    """Absolute, or the URI as it stands in the YAML."""
    type: ModelType
    is_type_stated: bool


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model of a workspace or registry."""

    reference: str
    """As it stands in the YAML."""
    name: str
    version: str | None
    """None: the latest."""


@dataclass(frozen=True, slots=True)
class CloudModel:
    """A reference to a place in Azure (a datastore, a job's output, a label) that names no registered version."""

    reference: str


ModelReference = LocalModel | RegisteredModel | CloudModel


@dataclass(frozen=True, slots=True)
class EnvironmentReference:
    """The environment that the YAML gives."""

    conda_file: str | None = None
    """An existing file, absolute."""
    conda_json: str | None = None
    """A conda file's content that stands in the YAML itself, as JSON (which is YAML)."""
    image: str | None = None
    build: str | None = None
    """A Docker build context."""
    reference: str | None = None
    """The name of an environment in a workspace or registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model deployment with every setting that Azure's two styles have; a field's default is Azure's."""

    file: str
    """The YAML file, as it was given or found."""
    style: Style
    name: str
    endpoint_name: str
    model: ModelReference | None = None
    code_configuration: CodeConfiguration | None = None
    """None: no-code."""
    environment: EnvironmentReference | None = None
    instance_count: int = 1
    max_concurrency_per_instance: int = 1
    mini_batch_size: int = 10
    """Files."""
    output_action: OutputAction = "append_row"
    output_file_name: str = "predictions.csv"
    retry_settings: RetrySettings = RetrySettings()
    error_threshold: Limit = -1
    """Failed files that the job may have; -1: any number. Azure knows no percentage."""
    logging_level: LoggingLevel = "info"
    environment_variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    stated: frozenset[str] = frozenset()
    """The settings that the YAML or --set states, whatever the style: `mini_batch_size`, `retry_settings.timeout`."""
    notes: tuple[str, ...] = ()
    """What to tell the user once, such as keys that mean nothing here."""

    def __post_init__(self) -> None:
        _refuse_out_of_range(self, "instance_count", "max_concurrency_per_instance", "mini_batch_size")
        if not isinstance(self.error_threshold, Share):
            _refuse_out_of_range(self, "error_threshold")
        for name, words in (("output_action", get_args(OutputAction)), ("logging_level", get_args(LoggingLevel))):
            if getattr(self, name) not in words:
                raise UsageError(f"{name} must be one of {', '.join(words)}; found {getattr(self, name)!r}")

    def to_json(self) -> dict[str, Any]:
        """What job.json says of it: of environment variables the names alone."""
        code = self.code_configuration
        return {
            "file": self.file,
            "name": self.name,
            "endpoint_name": self.endpoint_name,
            "model": _shown(self.model),
            "scoring_script": code.scoring_script if code else None,
            "settings": {
                "instance_count": self.instance_count,
                "max_concurrency_per_instance": self.max_concurrency_per_instance,
                "mini_batch_size": self.mini_batch_size,
                "output_action": self.output_action,
                "output_file_name": self.output_file_name,
                "retry_settings": asdict(self.retry_settings),
                "error_threshold": as_json(self.error_threshold),
                "logging_level": self.logging_level,
                "environment_variables": [name for name, _ in self.environment_variables],
            },
        }


def _shown(model: ModelReference | None) -> str | None:
    if model is None:
        return None
    return redact(model.path if isinstance(model, LocalModel) else model.reference)
