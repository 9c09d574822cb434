"""The part of tabletop that stands in for a controller and its unit agents.

`store` keeps the state, `lifecycle` says which event a unit gets next (pure), `agent` runs it, `hooks` is one hook's
transaction, `hooktools` answers the tools that a charm calls from inside it, `controller` carries out an operator's
commands and `rpc` serves them.
"""
