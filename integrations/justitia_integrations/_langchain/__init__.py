"""The parts of the LangChain and LangGraph integrations, which are one underneath."""
