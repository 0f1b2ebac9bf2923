"""The private names of Ray that the package uses: the list is complete, and each is still what it was."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
from ray._private import node, state

from tests.conftest import ROOT
from tests.helpers import import_graph

PRIVATE = re.compile(r"^ray\..*\b_|^ray\._")

# Name -> its parameters, where it is called; None of what is a constant, a class or a module.
USED = {
    "ray._common.utils.get_system_memory": ["memory_limit_filename", "memory_limit_filename_v2"],
    "ray._private.utils.get_used_memory": [],
    "ray._private.ray_constants": None,
    "ray._private.services": None,
    "ray._private.worker": None,
    "ray._private.state.state": None,
    "ray._private.ray_constants.get_runtime_env_default_excludes": [],
    "ray._private.runtime_env.packaging": None,
    "ray.serve._private.replica": None,
    "ray.train.v2._internal.constants.DEFAULT_WORKER_GROUP_START_TIMEOUT_S": None,
    "ray.train.v2._internal.constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR": None,
    "ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError": None,
    "ray.train.v2._internal.execution.scaling_policy.ElasticScalingPolicy": None,
    "ray.train.v2._internal.execution.scaling_policy.NoopDecision": None,
    "ray.train.v2._internal.execution.scaling_policy.ScalingDecision": None,
}
ATTRIBUTES = {
    "ray._private.ray_constants": {"ENABLE_RAY_CLUSTER": None, "PROCESS_TYPE_MONITOR": None},
    "ray._private.services": {"get_node": ["gcs_address", "node_id"]},
    "ray._private.worker": {"_global_node": None},
    "ray._private.runtime_env.packaging": {
        "GCS_STORAGE_MAX_SIZE": None,
        "_get_excludes": ["path", "excludes"],
        "_dir_travel": ["path", "excludes", "handler", "include_gitignore", "logger"],
    },
    "ray.serve._private.replica": {"add_port_to_grpc_server": ["server", "address"]},
}
CALLS = [name for name, parameters in USED.items() if parameters is not None]
READ = [(module, attribute) for module, attributes in ATTRIBUTES.items() for attribute in attributes]


def list_parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_list_of_private_names_is_complete() -> None:
    """Every private module of Ray that the package imports is in the list, and none besides."""
    modules = import_graph.read_modules(ROOT / import_graph.PACKAGE)
    imported = {name for tree in modules.values() for name in import_graph.iter_imports(tree) if PRIVATE.match(name)}
    assert imported == set(USED)


@pytest.mark.parametrize("name", CALLS)
def test_private_functions_are_called_as_before(name: str) -> None:
    """A private function still has the parameters with which it is called."""
    module, _, attribute = name.rpartition(".")
    assert list_parameters(getattr(importlib.import_module(module), attribute)) == USED[name]


@pytest.mark.parametrize(("module", "attribute"), READ)
def test_private_attributes_are_there(module: str, attribute: str) -> None:
    """What is read of a private module, set in it or called is still there, with its parameters."""
    found = getattr(importlib.import_module(module), attribute)
    expected = ATTRIBUTES[module][attribute]
    assert expected is None or list_parameters(found) == expected


def test_private_objects_keep_their_methods() -> None:
    """The methods that are called on Ray's private objects are still there, with their parameters."""
    assert list_parameters(state.GlobalState.get_draining_nodes) == ["self"]
    assert list_parameters(state.GlobalState.get_max_resources_from_cluster_config) == ["self"]
    kill = list_parameters(node.Node._kill_process_type)
    assert {"process_type", "allow_graceful", "check_alive"} < set(kill)
    assert "self.all_processes" in inspect.getsource(node.Node)
    assert "ray._private.services.get_node(" in inspect.getsource(node.Node.__init__), "looked up when it is called"


def test_train_still_has_its_hidden_options() -> None:
    """Options of Ray Train that its type hints leave out are still taken, and its handler of Ctrl-C is still there."""
    from ray.train import FailureConfig
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    assert FailureConfig(controller_failure_limit=3).controller_failure_limit == 3  # type: ignore[call-arg, attr-defined]
    assert issubclass(WorkerGroupStartupTimeoutError, Exception)
    assert "_register_sigint_handler" in dir(DataParallelTrainer)
    fit = inspect.getsource(DataParallelTrainer.fit)
    assert "self._initialize_and_run_controller(" in fit
    assert "scaling_policy=" in fit
