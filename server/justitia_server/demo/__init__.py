"""`justitia demo`: real applications on a real server, stock vLLM first and then Justitia."""

from justitia_server.demo.run import run_demo

__all__ = ["run_demo"]
