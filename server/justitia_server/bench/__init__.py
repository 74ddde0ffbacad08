"""`justitia bench`: the workloads of `justitia simulate` against a live server, over HTTP."""
