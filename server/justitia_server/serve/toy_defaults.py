"""Options that suit the toy model; each gives way to the user's own."""

from __future__ import annotations

from collections.abc import MutableMapping

TOY_OPTIONS: dict[str, object] = {
    "served_model_name": ["toy"],
    # Nobody but this machine has a use for a model of noise.
    "host": "127.0.0.1",
    "enforce_eager": True,
    "max_model_len": 4096,
    # Without disable_any_whitespace a random model may emit blanks for ever.
    "structured_outputs_config": '{"backend":"xgrammar","disable_any_whitespace":true}',
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",
    # Without it a forced tool call's arguments are any JSON: of a random model, mostly no object.
    "tool_strict_level": "parameter",
    "disable_uvicorn_access_log": True,
    "uvicorn_log_level": "warning",
}


def set_toy_environment(environment: MutableMapping[str, str]) -> None:
    """Fill what a small CPU host needs into *environment*, keeping what is set."""
    defaults = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # Matrices this small gain nothing from a second thread: it would only spin at barriers,
        # at more than twice the CPU time a token. Bound to a core, two servers would share one.
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # vLLM's CPU engine and its worker are two processes that wait for each other without
        # sleeping. On few cores they starve the process that takes calls in, and calls wait in
        # front of the scheduler, where no policy reaches them. In one process they do not.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore:resource_tracker",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in defaults.items():
        environment.setdefault(name, value)
