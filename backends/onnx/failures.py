"""What ONNX Runtime raises. The runtime is imported when it is asked, numpy is not."""

import importlib


def runtime_failures() -> tuple[type[BaseException], ...]:
    """What the runtime raises: its own classes have no common base."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError)
