"""Azure's YAML: what is read, what is refused and how, and where a deployment's model is found."""

from __future__ import annotations

import shlex
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batchscore.azure import read_deployment, resolve_model
from batchscore.azure.keys import dotted_keys
from batchscore.deployment import (
    CloudModel,
    CodeConfiguration,
    Deployment,
    EnvironmentReference,
    LocalModel,
    RegisteredModel,
    RetrySettings,
)
from batchscore.errors import UsageError
from batchscore.limits import Share

TYPED = """\
$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
endpoint_name: heart-batch
name: Heart-MLflow
description: scores hearts
type: model
model: {path: model, type: MLflow_Model}
code_configuration:
  code: src
  scoring_script: score.py
environment:
  conda_file: conda.yml
  image: continuumio/miniconda3:24.7.1-0
compute: azureml:cpu-cluster
resources:
  instance_count: 2
  instance_type: Standard_DS3_v2
settings:
  max_concurrency_per_instance: 3
  mini_batch_size: "4"
  output_action: APPEND_ROW
  output_file_name: scores.csv
  retry_settings: {max_retries: 5, timeout: 300}
  error_threshold: 6
  logging_level: Debug
  environment_variables: {OMP: 010, ALSO: yes, TOKEN: s3cret}
"""
ROOT_STYLE = """\
name: classic
endpoint_name: heart-batch
model: azureml:heart:3
mini_batch_size: 4
retry_settings:
  timeout: 50
resources:
  instance_count: 2
"""
SHORT = "name: d\nendpoint_name: e\ntype: model\ncompute: c\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The working directory: a model, a script and a conda file lie in it."""
    for name in ("model/MLmodel", "src/score.py", "conda.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str | bytes, *sets: str, name: str = "deployment.yml", **options) -> Deployment:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_deployment(name, overrides=[tuple(each.split("=", 1)) for each in sets], **options)


def message(text: str | bytes, *sets: str, **options) -> str:
    with pytest.raises(UsageError) as caught:
        read(text, *sets, **options)
    return str(caught.value)


def test_the_style_with_settings_is_read(folder):
    deployment = read(TYPED)
    assert deployment == Deployment(
        file="deployment.yml",
        style="settings",
        name="heart-mlflow",
        endpoint_name="heart-batch",
        model=LocalModel(str(folder / "model"), "mlflow_model", is_type_stated=True),
        code_configuration=CodeConfiguration(str(folder / "src"), "score.py"),
        environment=EnvironmentReference(
            conda_file=str(folder / "conda.yml"), image="continuumio/miniconda3:24.7.1-0"
        ),
        instance_count=2,
        max_concurrency_per_instance=3,
        mini_batch_size=4,
        output_file_name="scores.csv",
        retry_settings=RetrySettings(5, 300),
        error_threshold=6,
        logging_level="debug",
        environment_variables=(("OMP", "010"), ("ALSO", "yes"), ("TOKEN", "s3cret")),
        stated=frozenset(
            [
                "instance_count", "max_concurrency_per_instance", "mini_batch_size", "output_action",
                "output_file_name", "retry_settings.max_retries", "retry_settings.timeout", "error_threshold",
                "logging_level", "environment_variables",
            ]
        ),
        notes=("deployment.yml: compute, resources.instance_type, environment.image: no effect here",),
    )  # fmt: skip


def test_the_older_style_is_read_and_what_it_leaves_out_is_the_default(folder):
    deployment = read(ROOT_STYLE)
    assert deployment == Deployment(
        file="deployment.yml",
        style="root",
        name="classic",
        endpoint_name="heart-batch",
        model=RegisteredModel("azureml:heart:3", "heart", "3"),
        instance_count=2,
        mini_batch_size=4,
        retry_settings=RetrySettings(timeout=50),
        stated=frozenset({"mini_batch_size", "retry_settings.timeout", "instance_count"}),
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("  error_threshold: 6>  error_threshold: -2",
         "deployment.yml:23: settings.error_threshold: found -2; expected a whole number from -1"),
        ("  error_threshold: 6>  error_threshold: 101%", "found '101%'; expected a whole number from -1, or a perc"),
        ('"4">0', "deployment.yml:19: settings.mini_batch_size: found 0; expected a whole number from 1"),
        ('"4">1.5', ":19: settings.mini_batch_size: found 1.5; expected a whole number"),
        ('"4">"1.5"', ":19: settings.mini_batch_size: found '1.5'; expected a whole number"),
        ('"4">3000000000', "to 2147483647"),
        ('"4">yes', "found yes; expected a whole number"),
        ('"4">', ":19: settings.mini_batch_size: found null; expected a value; drop settings.mini_batch_size"),
        ('"4">[4]', "found a list"),
        ("mini_batch_size>mini_batch_sise", (":19: settings.mini_batch_sise: unknown key; did you mean "
         "settings.mini_batch_size?")),
        ("Debug>shout", "settings.logging_level: found 'shout'; expected one of warning, info, debug"),
        ("APPEND_ROW>append_rows", "found 'append_rows'; expected one of append_row, summary_only; did you"),
        ("APPEND_ROW>AppendRow", "expected one of append_row, summary_only"),
        ("APPEND_ROW>summary_only", ":21: settings.output_file_name: found 'scores.csv'; expected no output_file_name"),
        ("scores.csv>a/b.csv", "deployment.yml:21: settings.output_file_name: the output file name must be a name"),
        ("settings:>settings:\n  instance_count: 2", (":18: settings.instance_count: found 2; expected no "
         "settings.instance_count beside resources")),
        ("settings:>error_threshold: 5\nsettings:", (":17: error_threshold: Azure's client takes this key here, beside "
         "settings:, and drops it without a word; write settings.error_threshold instead")),
        ("settings:>environment_variables: {A: b}\nsettings:", "write settings.environment_variables instead"),
        ("settings:>mini_batch_size: 5\nsettings:", (":17: mini_batch_size: unknown key; mini_batch_size stands at "
         "settings.mini_batch_size")),
        ("type: model\n>", "settings: goes with type: model, which is missing"),
        ("type: model>type: modle", "expected one of model; did you mean model?"),
        ("compute: azureml:cpu-cluster\n>", "deployment.yml:1: compute is missing; Azure asks for it"),
        ("endpoint_name: heart-batch\n>", "deployment.yml:1: endpoint_name is missing"),
        ("name: Heart-MLflow>name: 5", ":3: name: found 5; expected text; put it in quotes"),
        ("name: Heart-MLflow>name: ''", "found ''; expected text that isn't empty"),
        ("model: {path: model, type: MLflow_Model}>model: ./model", (":6: model: found './model'; expected "
         "azureml:<name>:<version> for a registered model, or for a local folder model: {path: ./model, type")),
        ("{path: model,>{pth: model,", "model.pth: unknown key; did you mean model.path?"),
        ("type: MLflow_Model>type: onnx", "model.type: found 'onnx'; expected one of custom_model"),
        ("  code: src>  code: nowhere", "expected the folder of the scoring script; there is none at"),
        ("  code: src>  code: azureml:code:1", "batchscore fetches no code; download it"),
        ("  code: src\n>", "deployment.yml:7: code_configuration.code is missing"),
        ("score.py>other.py", ":9: code_configuration.scoring_script: found 'other.py'; expected a file in src"),
        ("conda.yml>none.yml", "environment.conda_file: found 'none.yml'; expected an existing conda file"),
        (f"conda.yml>{'n' * 300}.yml", "expected an existing conda file"),
        ("  conda_file: conda.yml>  dependencies: [pip]", "keep it in a file of its own"),
        ("OMP: 010>OMP: [1]", "settings.environment_variables.OMP: expected text, found something else"),
        ("OMP: 010>OMP:  ", "settings.environment_variables.OMP: expected text"),
        ("OMP: 010>NO: 1", "found the key False; expected text; put it in quotes"),
        ("OMP: 010>A=B: 1", "found a name that is empty or has = or NUL in it"),
    ],
)  # fmt: skip
def test_a_refusal_names_file_line_and_key(folder, change, expected):
    old, new = change.split(">", 1)
    assert old in TYPED
    found = message(TYPED.replace(old, new, 1))
    assert expected in found
    assert found.startswith("deployment.yml:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "deployment.yml is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n", "deployment.yml:1: found a list; expected keys and values"),
        ("text\n", "deployment.yml:1: found 'text'; expected keys and values"),
        (SHORT + "---\na: b\n", "found a second document"),
        (SHORT + "name: again\n", "deployment.yml:5: name: the key stands twice, first in line 1"),
        (SHORT + "settings: {mini_batch_size: 1, mini_batch_size: 2}\n", ":5: settings.mini_batch_size: the key"),
        (SHORT + "a: [1\n", "deployment.yml:6:1: can't be read as YAML"),
        (SHORT + "\ta: 1\n", "deployment.yml:5:1: can't be read as YAML"),
        (SHORT + "tags: !!python/object/apply:os.system [exit]\n", "found the YAML tag tag:yaml.org,2002:python"),
        (SHORT + "tags: {a: !!python/name:os.system x}\n", "deployment.yml:5: tags.a: found the YAML tag"),
        (SHORT + "tags: {a: !env x}\n", "found the YAML tag !env"),
        (SHORT + "tags: {a: 2024-13-45}\n", ":5: tags.a: can't be read as YAML's timestamp; put it in quotes"),
        (SHORT + "tags: {? [a] : b}\n", "deployment.yml:5: found a list or mapping as a key below tags"),
        (SHORT + "tags: &a {b: *a}\n", "deployment.yml:5: tags.b"),
        (SHORT + "tags: &a {<<: *a}\n", "its merge keys (<<) lead nowhere"),
        (SHORT + "tags: {a: *nothing}\n", "deployment.yml:5:11: can't be read as YAML"),
        (SHORT + "tags: " + "[" * 5000, "deployment.yml"),
        (SHORT + "tags: " + "{a: " * 400 + "1" + "}" * 400, "deployment.yml"),
        (SHORT + "tags:\n  a0: &a0 [x, x]\n" + "".join(f"  a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12)),
         "once its aliases (*name) are expanded"),
        (SHORT + "tags:\n  a0: &a0 {x: 1}\n" + "".join(
            f"  a{n}: &a{n} {{<<: [{f'*a{n - 1}, ' * 9}]}}\n" for n in range(1, 12)), "deployment.yml:"),
        (SHORT.encode("utf-16"), "deployment.yml is not UTF-8 text"),
        (b"name: \xff\n", "deployment.yml is not UTF-8 text"),
        ("name: \x07\n", "can't be read as YAML"),
        ("#" * (1 << 20) + "\n", "has more than 1,048,576 bytes"),
    ],
    ids=range(25),
)  # fmt: skip
def test_what_is_no_single_plain_mapping_is_refused(folder, text, expected):
    assert expected in message(text)


def test_a_file_that_is_not_there_or_a_folder_is_refused(folder):
    with pytest.raises(UsageError, match=r"can't read none\.yml: No such file"):
        read_deployment("none.yml")
    with pytest.raises(UsageError, match=r"src is a folder; give the deployment's YAML file"):
        read_deployment("src")
    with pytest.raises(UsageError, match=r"\. is a folder; give the deployment's YAML file, one of conda\.yml"):
        read_deployment(".")


def test_a_byte_order_mark_anchors_and_merge_keys_are_read(folder):
    text = SHORT + (
        "properties:\n  shared: &shared {timeout: 5, max_retries: 1}\n"
        "settings:\n  retry_settings: {<<: *shared, max_retries: 2}\n"
    )
    assert read(b"\xef\xbb\xbf" + text.encode()).retry_settings == RetrySettings(2, 5)


@pytest.mark.parametrize("text", ["10", '"10"', "' 10 '", "10.0", "0xA", "1_0", "012"])
def test_whole_numbers_are_taken_however_azures_client_takes_them(folder, text):
    assert read(SHORT + f"settings: {{mini_batch_size: {text}}}").mini_batch_size == 10


yaml_like = st.text("[]{}:*&!<-?|>'\"%@` \n\tab1,#=").map((SHORT + "tags: ").__add__)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text().map(str.encode) | yaml_like.map(str.encode) | st.binary())
@example(b"=: a")
@example(SHORT.encode() + b"tags: {=: a}")
@example(SHORT.encode() + b"tags: =")
@example(SHORT.encode() + b"? !!binary aaaa\n: b")
@example(SHORT.encode() + b"tags: !!set {a}")
@example(SHORT.encode() + b"tags: {.nan: 1, 1e999999: 2, 99999999999999999999999: 3}")
@example(SHORT.encode() + b"settings: {mini_batch_size: " + b"9" * 5000 + b"}")
def test_whatever_a_file_holds_it_is_read_or_refused(folder, content):
    try:
        shown = read(content).file
    except UsageError as error:
        shown = str(error)
    assert "deployment.yml" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: pipeline\ncomponent: azureml:c:1\n", "deployment.yml:1: type: pipeline is a pipeline component"),
        ("type: Parallel\n", "write its task as a deployment: task.code and task.entry_script become"),
        ("type: command\ncommand: ls\n", "a command component or job; run its command itself"),
        ("jobs: {a: b}\n", "deployment.yml:1: jobs: jobs: makes this a pipeline component deployment"),
        ("$schema: https://x/latest/managedOnlineDeployment.schema.json\nname: a\n", "an online endpoint"),
        ("$schema: https://x/latest/parallelComponent.schema.json\nname: a\n", "a parallel component"),
        ("name: a\nendpoint_name: e\ncomponent: azureml:c:1\n", ":3: component: this is a key of pipeline component"),
    ],
)  # fmt: skip
def test_azures_other_documents_are_refused_by_name(folder, text, expected):
    assert expected in message(text)


@pytest.mark.parametrize(
    ("sets", "name", "value"),
    [
        (["settings.error_threshold=5"], "error_threshold", 5),
        (["error_threshold=5"], "error_threshold", 5),
        (["error_threshold=2.5%"], "error_threshold", Share(Decimal("2.5"))),
        (["mini_batch_size=5"], "mini_batch_size", 5),
        (["output_file_name=x.csv"], "output_file_name", "x.csv"),
        (["retry_settings.max_retries=0"], "retry_settings", RetrySettings(0, 300)),
        (["retry_settings.timeout=7", "settings.retry_settings.timeout=8"], "retry_settings", RetrySettings(5, 8)),
        (["compute.instance_count=9"], "instance_count", 9),
        (["resources.instance_count=9"], "instance_count", 9),
        (["model.path=other"], "model", LocalModel("other", "mlflow_model", is_type_stated=True)),
        (["settings.environment_variables.A=b=c"], "environment_variables",
         (("OMP", "010"), ("ALSO", "yes"), ("TOKEN", "s3cret"), ("A", "b=c"))),
    ],
)  # fmt: skip
def test_set_takes_the_keys_of_the_yaml_and_the_names_of_a_jobs_overrides(folder, sets, name, value):
    if isinstance(value, LocalModel):
        value = LocalModel(str(folder / value.path), value.type, is_type_stated=True)
    assert getattr(read(TYPED, *sets), name) == value


def test_set_takes_the_same_names_in_the_older_style(folder):
    names = ["error_threshold=5", "mini_batch_size=6", "output_file_name=x.csv", "retry_settings.max_retries=7",
             "retry_settings.timeout=8", "compute.instance_count=9"]  # fmt: skip
    deployment = read("name: d\nendpoint_name: e\ncompute: azureml:c\n", *names)
    assert (deployment.error_threshold, deployment.mini_batch_size) == (5, 6)
    assert (deployment.output_file_name, deployment.instance_count) == ("x.csv", 9)
    assert deployment.retry_settings == RetrySettings(7, 8)
    assert "compute.instance_count" not in deployment.stated
    assert "instance_count" in deployment.stated


def test_an_instance_count_that_stands_below_settings_is_overridden_there(folder):
    text = SHORT + "settings: {instance_count: 2}\n"
    assert read(text).instance_count == 2
    assert read(text, "compute.instance_count=3").instance_count == 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mini_batch_size=0", "--set mini_batch_size (settings.mini_batch_size): found '0'; expected a whole"),
        ("settings.mini_batch_size=1.5", "--set settings.mini_batch_size: found '1.5'"),
        ("compute.instance_count=x", "--set compute.instance_count (resources.instance_count): found 'x'"),
        ("max_retries=1", "--set max_retries: unknown key; max_retries stands at settings.retry_settings.max_retries"),
        ("instance_count=1", "--set instance_count: unknown key; instance_count stands at resources.instance_count"),
        ("error_treshold=1", "--set error_treshold: unknown key; did you mean settings.error_threshold?"),
        ("compute.x=1", "--set compute.x: there are no keys to set below compute (deployment.yml:13: compute)"),
        ("settings..a=1", "--set settings..a: expected a key with dots between its parts"),
        ("type=pipeline", "--set type: pipeline is a pipeline component deployment"),
        ("settings.output_action=summary_only", "deployment.yml:21: settings.output_file_name: found 'scores.csv'"),
    ],
)  # fmt: skip
def test_a_wrong_set_is_named(folder, override, expected):
    assert expected in message(TYPED, override)


@pytest.mark.parametrize(
    "text",
    [
        SHORT + "settings: {environment_variables: TOKEN=s3cret}\n",
        SHORT + "settings: {environment_variables: [TOKEN=s3cret]}\n",
        SHORT + "settings: {environment_variables: {A: !!int s3cret}}\n",
        SHORT + "settings: {environment_variables: {A: [s3cret]}}\n",
        SHORT + "settings: {environment_variables: {TOKEN=s3cret: 1}}\n",
        SHORT + "model: https://user:s3cret@store/model?sig=s3cret\n",
        SHORT + "environment_variables: {A: s3cret}\n",
    ],
)
def test_no_message_shows_a_secret(folder, text):
    assert "s3cret" not in message(text)


def test_no_message_shows_a_secret_that_is_set(folder):
    assert "s3cret" not in message(TYPED, "settings.environment_variables=A=s3cret")
    assert "s3cret" not in message(TYPED, "settings.environment_variables.A.B=s3cret")
    assert "s3cret" not in message(TYPED, "settings.environment_variables.TOKEN.B=x")


def test_an_environment_by_name_is_noted(folder):
    deployment = read(SHORT + "environment: azureml:heart-env:2\n")
    assert deployment.environment == EnvironmentReference(reference="azureml:heart-env:2")
    assert "azureml:heart-env:2 can't be fetched from Azure; the model's own requirements count" in deployment.notes[1]


def test_an_environment_in_a_file_of_its_own_is_read_with_paths_relative_to_it(folder):
    (folder / "src/environment.yml").write_text("conda_file: ../conda.yml\nname: env\n")
    assert read(SHORT + "environment: file:src/environment.yml\n").environment == EnvironmentReference(
        conda_file=str(folder / "conda.yml")
    )


def test_conda_requirements_in_the_yaml_itself_are_kept(folder):
    found = read(SHORT + "environment: {conda_file: {dependencies: [pip, {pip: [numpy]}]}}\n").environment
    assert found == EnvironmentReference(conda_json='{"dependencies": ["pip", {"pip": ["numpy"]}]}')


ENDPOINT = "name: heart-batch\nauth_mode: aad_token\n"


def test_an_endpoint_leads_to_its_default_deployment_or_the_one_that_is_asked_for(folder):
    Path("a.yml").write_text(TYPED)
    Path("b.yaml").write_text(ROOT_STYLE)
    Path("other.yml").write_text(ROOT_STYLE.replace("heart-batch", "other-batch"))
    Path("broken.yml").write_text("[")
    default = ENDPOINT + "defaults: {deployment_name: CLASSIC}\n"
    assert read(default, name="endpoint.yml").file == "b.yaml"
    assert read(default, "mini_batch_size=3", name="endpoint.yml").mini_batch_size == 3
    assert read(default, name="endpoint.yml", deployment_name="heart-mlflow").file == "a.yml"
    assert message(ENDPOINT, name="endpoint.yml") == (
        "endpoint.yml: the endpoint has no defaults.deployment_name; name a deployment with --deployment-name; "
        "there are Heart-MLflow (a.yml), classic (b.yaml)"
    )
    assert message(ENDPOINT, name="endpoint.yml", deployment_name="none").startswith(
        "--deployment-name none: no deployment none of the endpoint heart-batch lies beside endpoint.yml or one folder "
        "below; there are Heart-MLflow"
    )
    found = message(ENDPOINT + "defaults: {deployment_name: gone}\n", name="endpoint.yml")
    assert found.startswith("endpoint.yml:3: defaults.deployment_name: no deployment gone of the endpoint")
    Path("c.yml").write_text(ROOT_STYLE)
    assert "more than one file is the deployment CLASSIC: b.yaml, c.yml" in message(default, name="endpoint.yml")


def test_an_endpoint_leads_to_deployments_in_folders_of_their_own_unless_one_lies_beside_it(folder):
    own = SHORT.replace("endpoint_name: e", "endpoint_name: heart-batch") + "model: azureml:heart:1\n"
    Path("src/deployment.yml").write_text(own)
    default = ENDPOINT + "defaults: {deployment_name: D}\n"
    assert read(default, name="endpoint.yml").file == "src/deployment.yml"
    assert message(ENDPOINT, name="endpoint.yml").endswith("--deployment-name; there are d (src/deployment.yml)")
    Path("mine.yml").write_text(own)
    assert read(default, name="endpoint.yml").file == "mine.yml"
    Path("mine.yml").unlink()
    Path("src/deployment.yml").unlink()
    assert message(default, name="endpoint.yml").endswith("; there is none of it; give a deployment's YAML with -f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: 1a\ndefaults: {}\n", "endpoint.yml:1: name: found '1a'; expected an endpoint's name"),
        ("name: a\nauth_mode: none\n", "auth_mode: found 'none'; expected one of aad_token, key, aml_token"),
        ("name: a\ndefaults: d\n", "defaults: found 'd'; expected keys and values"),
        ("name: a\ndefaults: {deployment: d}\n", "did you mean defaults.deployment_name?"),
        ("auth_mode: key\n", "endpoint.yml:1: name is missing"),
    ],
)
def test_an_endpoint_is_checked_as_strictly(folder, text, expected):
    assert expected in message(text, name="endpoint.yml")


def test_a_deployment_name_beside_a_deployments_own_yaml_has_to_be_its_name(folder):
    assert read(TYPED, deployment_name="HEART-MLFLOW").name == "heart-mlflow"
    assert "deployment.yml is the deployment Heart-MLflow, not classic" in message(TYPED, deployment_name="classic")


def resolve(model: str, *, script: bool = False, store: str | None = None, tracking: bool = False):
    code = "code_configuration: {code: src, scoring_script: score.py}\n" if script else ""
    return resolve_model(read(f"{SHORT}{model}\n{code}"), model_store=store, tracking_uri_is_set=tracking)


def refused(model: str, **options) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(model, **options)
    return str(caught.value)


def test_a_path_is_relative_to_the_yaml(folder):
    assert resolve("model: {path: ./model/, type: mlflow_model}") == (str(folder / "model"), ())


def test_a_folder_with_an_mlmodel_is_used_though_its_type_is_missing(folder):
    found, notes = resolve("model: {path: model}")
    assert found == str(folder / "model")
    assert "model.type is missing, which means custom_model" in notes[0]


def test_a_scripts_model_is_any_folder_or_file_or_none(folder):
    assert resolve("model: {path: src}", script=True) == (str(folder / "src"), ())
    assert resolve("model: {path: conda.yml, type: custom_model}", script=True) == (str(folder / "conda.yml"), ())
    assert resolve("tags: {}", script=True) == (None, ())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("tags: {}", "deployment.yml names no model; name one under model, or with -m"),
        ("model: {path: none, type: mlflow_model}", "none isn't there"),
        ("model: {path: src, type: mlflow_model}", "src has no MLmodel file; expected an MLflow model's folder"),
        ("model: {path: ., type: mlflow_model}", "did you mean"),
        ("model: {path: model, type: triton_model}", "is a triton_model, which batchscore doesn't run"),
        ("model: {path: 'https://u:s3cret@store/m?sig=s3cret'}", "https://store/m?… isn't on this machine"),
        ("model: {path: 'azureml://jobs/j/outputs/artifacts/paths/model/'}", "isn't on this machine; download it"),
        ("model: {path: 'wasbs://c@a.blob/x'}", "isn't on this machine"),
        ("model: {path: 'runs:/abc/model'}", "isn't on this machine; set MLFLOW_TRACKING_URI"),
        ("model: azureml://jobs/j/outputs/o/paths/model", "lies in Azure, which batchscore doesn't reach; download it"),
        ("model: azureml:heart:1", ("azureml:heart:1 is registered in Azure, and nothing says where it is here: "
         "no folder of models (name/version) was given (--model-store), and MLFLOW_TRACKING_URI isn't set")),
    ],
)  # fmt: skip
def test_what_cannot_be_had_says_what_to_do(folder, model, expected):
    found = refused(model)
    assert expected in found
    assert "s3cret" not in found


def test_where_a_model_lies_beside_the_yaml_the_command_with_it_is_offered(folder):
    found = refused("model: azureml:heart:1")
    assert shlex.split(found.splitlines()[-1]) == [
        "batchscore", "run", "-f", "deployment.yml", "-m", "model", "-i", "INPUT", "-o", "OUTPUT",
    ]  # fmt: skip


def test_a_model_one_folder_above_the_yaml_is_offered_and_a_scripts_own_folder_model(folder):
    Path("deployments/code").mkdir(parents=True)
    Path("deployments/code/score.py").touch()
    Path("deployments/d.yml").write_text(SHORT + "model: azureml:heart:1\n")
    with pytest.raises(UsageError, match="-f deployments/d.yml -m model -i INPUT"):
        resolve_model(read_deployment("deployments/d.yml"), model_store=None, tracking_uri_is_set=False)
    script = "model: azureml:heart:1\ncode_configuration: {code: code, scoring_script: score.py}\n"
    Path("deployments/d.yml").write_text(SHORT + script)
    Path("model/MLmodel").unlink()
    with pytest.raises(UsageError, match="-f deployments/d.yml -m model -i INPUT"):
        resolve_model(read_deployment("deployments/d.yml"), model_store=None, tracking_uri_is_set=False)
    Path("model/MLmodel").touch()
    Path("deployments/model").mkdir()
    with pytest.raises(UsageError, match="-m deployments/model -i INPUT"):
        resolve_model(read_deployment("deployments/d.yml"), model_store=None, tracking_uri_is_set=False)


REFERENCES = {
    "azureml:heart:9": "9",
    "azureml:heart@latest": None,
    "azureml:heart": None,
    "azureml:/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w/models/heart/"
    "versions/9": "9",
    "azureml://registries/azureml/models/heart/versions/9": "9",
    "azureml://registries/azureml/models/heart/labels/latest": None,
    "azureml://models/heart/versions/9": "9",
}


@pytest.mark.parametrize(("reference", "version"), REFERENCES.items())
def test_registered_models_are_found_in_a_folder_of_models_or_in_mlflows_registry(folder, reference, version):
    assert read(f"{SHORT}model: {reference}\n").model == RegisteredModel(reference, "heart", version)
    assert resolve(f"model: {reference}", tracking=True) == (f"models:/heart/{version or 'latest'}", ())
    for number in ("9", "10", "x"):
        Path(f"store/heart/{number}").mkdir(parents=True)
        Path(f"store/heart/{number}/MLmodel").touch()
    expected = str(Path("store/heart", version or "10"))
    assert resolve(f"model: {reference}", store="store", tracking=True) == (expected, ())


@pytest.mark.parametrize("reference", ["azureml:heart@champion", "azureml:a:b:c"])
def test_other_labels_name_nothing_here(folder, reference):
    assert read(f"{SHORT}model: {reference}\n").model == CloudModel(reference)
    assert "lies in Azure" in refused(f"model: {reference}", store="src", tracking=True)


def test_a_folder_of_models_may_hold_the_model_one_level_below_or_files_for_a_script(folder):
    Path("store/heart/1/heart-model").mkdir(parents=True)
    Path("store/heart/1/heart-model/weights.pkl").touch()
    below = str(Path("store/heart/1/heart-model"))
    assert "has no MLmodel file; expected an MLflow model there or one level below" in refused(
        "model: azureml:heart:1", store="store"
    )
    assert resolve("model: azureml:heart:1", store="store", script=True) == (below, ())
    Path(below, "MLmodel").touch()
    assert resolve("model: azureml:heart:1", store="store") == (below, ())
    Path("store/heart/2").mkdir()
    Path("store/heart/2/a.pkl").touch()
    Path("store/heart/2/b.pkl").touch()
    assert resolve("model: azureml:heart:2", store="store", script=True) == (str(Path("store/heart/2")), ())


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("azureml:lung:1", "store has no folder lung, only heart"),
        ("azureml:heart:3", "store/heart has no version 3, only x"),
        ("azureml:heart@latest", "store/heart has no version that is one"),
        ("azureml:..:1", "store has no folder ..,"),
        ("azureml:heart:..", "store/heart has no version .., only x"),
    ],
)
def test_a_folder_of_models_without_the_model_says_what_it_has(folder, reference, expected):
    Path("store/heart/x").mkdir(parents=True)
    assert expected in refused(f"model: {reference}", store="store", tracking=True)


def test_a_folder_of_models_has_to_be_there(folder):
    assert "the folder of models none isn't there" in refused("model: azureml:heart:1", store="none")


@pytest.mark.parametrize("style", ["settings", "root"])
def test_the_list_of_keys_names_each_once(style):
    keys = dotted_keys(style)
    assert len(keys) == len(set(keys))
    prefix = "settings." if style == "settings" else ""
    assert {f"{prefix}retry_settings.timeout", "model.path", "environment.conda_file", "resources.instance_count"} <= {
        *keys
    }
