"""The relation interfaces of the bundle, one module each, imported by both ends.

Each module holds frozen models of what either side publishes. A model is read with
:meth:`~iot_charm.interfaces.databag.Databag.read` and published with
:meth:`~iot_charm.interfaces.databag.Databag.publish`; no charm touches a raw databag.

Two rules hold for all of them. An address travels only over a relation, and every unit publishes its own: so a
model that carries one belongs into the *unit* databag. A password never travels in a databag: it is the content of
a Juju secret, and the databag carries the secret's identifier.
"""
