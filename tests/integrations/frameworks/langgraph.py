"""LangGraph: a graph made by hand, with a node that speaks and a node of tools."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from integrations.framework import look
from integrations.frameworks.langchain import LangChain, lasting_model


class LangGraph(LangChain):
    name = "langgraph"
    agent_stage = "speak"
    agent_type = "clerk"

    def agent(self) -> Any:
        tools = [tool(look)]
        model = lasting_model().bind_tools(tools)

        def speak(state: MessagesState) -> dict[str, Any]:
            return {"messages": [model.invoke(state["messages"])]}

        async def aspeak(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("speak", RunnableLambda(speak, aspeak))
        graph.add_node("tools", ToolNode(tools))
        graph.add_edge(START, "speak")
        graph.add_conditional_edges("speak", tools_condition)
        graph.add_edge("tools", "speak")
        return graph.compile(name=self.agent_type)


framework = LangGraph()
